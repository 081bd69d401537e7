from diffurecsys.pipelines.maps.pipeline import create_pipeline

__all__ = ["create_pipeline"]
