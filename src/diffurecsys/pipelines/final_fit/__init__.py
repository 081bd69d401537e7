from diffurecsys.pipelines.final_fit.pipeline import create_pipeline

__all__ = ["create_pipeline"]
