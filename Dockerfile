# The service and its model in one image, for a GPU host and for one without:
#
#   docker build -t mint .        or, where there is no docker:  buildah bud --format docker -t mint .
#   docker run --rm -p 3000:3000 --gpus all --stop-timeout 70 mint      (no GPU: without --gpus all)
#
# It writes nothing, so its file system may be read-only, and it needs no fixed user.
# Plain instructions only, so that old builders understand it too.

# Any image with Python 3.11 to 3.14 and pip will do; name one with --build-arg PYTHON_IMAGE=... A tag may name another image
# tomorrow: for builds that can be repeated give the digest that `docker buildx imagetools inspect` shows, as in
# python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# What the locked requirements make: 2.9 GB, most of it CUDA. Rebuilt only when the lock changes.
FROM ${PYTHON_IMAGE} AS requirements
RUN python3 -m venv --without-pip /opt/venv
COPY requirements/serving.txt /tmp/
RUN python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r /tmp/serving.txt


# Mint itself, in a folder of its own: new code or a new model is a layer of a few megabytes.
FROM requirements AS mint
COPY requirements/build.txt /tmp/
RUN python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r /tmp/build.txt
WORKDIR /src
COPY . .
# Files come with the modes that they have where the image is built, which the user of the image may not be able to read.
RUN chmod -R u=rwX,go=rX . && umask 022 \
    && python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-build-isolation --target /opt/mint . \
    && mkdir -p reports
# A model that the service would refuse, or none, ends the build here.
RUN ORT_DISABLE_TELEMETRY=1 PYTHONPATH=/opt/mint /opt/mint/bin/mint generate --provider cpu --seeds 0 --out /tmp/first-image


FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin mint
COPY --from=requirements /opt/venv /opt/venv
COPY --from=mint /opt/mint /opt/mint
WORKDIR /app
COPY --from=mint /src/models models
COPY --from=mint /src/reports reports

# NVIDIA_VISIBLE_DEVICES is left to whoever starts the container: set here, it would take every GPU of a
# cluster's node unasked. BentoML and ONNX Runtime would otherwise report to their makers.
# MINT_LISTEN is where the address is changed: the health check reads it, and cannot know an option.
ENV PATH=/opt/mint/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/mint \
    PYTHONUNBUFFERED=1 \
    MINT_LISTEN=0.0.0.0:3000 \
    BENTOML_DO_NOT_TRACK=true \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# A number, so that an orchestrator can tell that it is not root.
USER 10001:10001
EXPOSE 3000

HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "serving.health"]

# SIGTERM lets requests in progress end; see MINT_DRAIN and MINT_SHUTDOWN_TIMEOUT.
ENTRYPOINT ["mint", "serve"]

# The licence is Mint's own; Python's, CUDA's and the other parts' lie beside them.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mint" \
      org.opencontainers.image.description="Images from seeds over HTTP: a GAN's generator as a service" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
