# Two images of one service. `--target api` knows no torch; `--target worker` has it.
# The package index's usual Linux torch brings CUDA and also runs on the CPU; for a smaller image
# give an index of CPU builds: --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.13-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY engine engine
COPY expunge expunge
COPY migrations migrations
COPY worker worker
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim AS api-build
COPY constraints.txt /
COPY --from=wheel /wheels /wheels
RUN python -m venv /opt/expunge \
 && /opt/expunge/bin/pip install --no-cache-dir --constraint /constraints.txt /wheels/*.whl

FROM api-build AS worker-build
ARG PIP_EXTRA_INDEX_URL=""
RUN /opt/expunge/bin/pip install --no-cache-dir --constraint /constraints.txt \
    "$(echo /wheels/*.whl)[worker]"

FROM python:3.13-slim AS runtime
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/expunge expunge
ENV PATH=/opt/expunge/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    EXPUNGE_STATE_DIR=/var/lib/expunge
WORKDIR /var/lib/expunge
VOLUME /var/lib/expunge
USER 10001

FROM runtime AS worker
COPY --from=worker-build /opt/expunge /opt/expunge
CMD ["python", "-m", "worker", "celery"]

FROM runtime AS api
COPY --from=api-build /opt/expunge /opt/expunge
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["expunge", "serve", "--host", "0.0.0.0", "--port", "8000"]
