# The service and its model in one image, for hosts with and without a GPU:
#
#   docker build -t mint .        or, without docker:  buildah bud --format docker -t mint .
#   docker run --rm -p 3000:3000 --gpus all --stop-timeout 70 mint      (on the CPU: without --gpus all)
#
# It writes nothing, so it can run with a read-only file system and as any user.
# Only basic instructions, for old builders.

# Any image with Python 3.11 to 3.14 and pip works: --build-arg PYTHON_IMAGE=... Tags move; for reproducible builds pass
# the digest that `docker buildx imagetools inspect` prints, as in python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# The locked dependencies: 2.9 GB, most of it CUDA. Rebuilt only when the lock file changes.
FROM ${PYTHON_IMAGE} AS requirements
RUN python3 -m venv --without-pip /opt/venv
COPY requirements/serving.txt /tmp/
RUN python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r /tmp/serving.txt


# Mint itself, in a separate folder: new code or a new model changes a layer of a few megabytes.
FROM requirements AS mint
COPY requirements/build.txt /tmp/
RUN python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r /tmp/build.txt
WORKDIR /src
COPY . .
# Files keep their modes from the build host, which may not let the image's user read them.
RUN chmod -R u=rwX,go=rX . && umask 022 \
    && python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-build-isolation --target /opt/mint . \
    && mkdir -p reports
# The build fails here if the model is missing or the service would reject it.
RUN ORT_DISABLE_TELEMETRY=1 PYTHONPATH=/opt/mint /opt/mint/bin/mint generate --provider cpu --seeds 0 --out /tmp/first-image


FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mint
COPY --from=requirements /opt/venv /opt/venv
COPY --from=mint /opt/mint /opt/mint
WORKDIR /app
COPY --from=mint /src/models models
COPY --from=mint /src/reports reports

# NVIDIA_VISIBLE_DEVICES is left to the container's runtime: set here, it would claim every GPU of a cluster node.
# Telemetry of BentoML and ONNX Runtime is turned off.
# Change the address with MINT_LISTEN: the health check reads it, and cannot see a command-line option.
ENV PATH=/opt/mint/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/mint \
    PYTHONUNBUFFERED=1 \
    MINT_LISTEN=0.0.0.0:3000 \
    BENTOML_DO_NOT_TRACK=true \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Numeric, so that Kubernetes can verify runAsNonRoot.
USER 10001:10001
EXPOSE 3000

HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "serving.health"]

# SIGTERM drains requests in progress; see MINT_DRAIN and MINT_SHUTDOWN_TIMEOUT.
ENTRYPOINT ["mint", "serve"]

# Mint's own licence; Python, CUDA and the other packages include theirs.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mint" \
      org.opencontainers.image.description="Images from seeds over HTTP: a GAN's generator as a service" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
