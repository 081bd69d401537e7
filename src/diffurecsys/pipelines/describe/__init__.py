from diffurecsys.pipelines.describe.pipeline import create_pipeline

__all__ = ["create_pipeline"]
