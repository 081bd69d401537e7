from diffurecsys.pipelines.significance.pipeline import create_pipeline

__all__ = ["create_pipeline"]
