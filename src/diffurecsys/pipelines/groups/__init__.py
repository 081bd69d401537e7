from diffurecsys.pipelines.groups.pipeline import create_pipeline

__all__ = ["create_pipeline"]
