"""What the service's start is measured against: an application with one route."""

from fastapi import FastAPI

FACTORY = "benchmarks.service.empty:create_app"


def create_app() -> FastAPI:
    """An application that says that it is there."""
    app = FastAPI()

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app
