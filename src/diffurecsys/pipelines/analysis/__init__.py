from diffurecsys.pipelines.analysis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
