# The newest image of this tag. scripts/deploy.sh builds from the digest that scripts/pin_images.sh wrote.
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS tools
WORKDIR /build
COPY requirements/build.txt requirements/
# Wheels only: nothing is compiled, and no package's code runs during the build. /app contains no pip.
RUN python -m venv tools && python -m venv --without-pip /app \
    && tools/bin/pip install --quiet --no-cache-dir --only-binary :all: --require-hashes -r requirements/build.txt

FROM tools AS wheel
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY vault vault
RUN tools/bin/pip --quiet wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels .

FROM tools AS client-packages
COPY requirements/client.txt requirements/
RUN tools/bin/pip --python /app/bin/python install --quiet --no-cache-dir --only-binary :all: --require-hashes \
        -r requirements/client.txt
COPY --from=wheel /build/wheels wheels
RUN tools/bin/pip --python /app/bin/python install --quiet --no-cache-dir --no-deps wheels/*.whl

# `--target client`: the command for people, and the Swarm driver.
FROM ${PYTHON_IMAGE} AS client
LABEL org.opencontainers.image.title="secret-manager-client" org.opencontainers.image.version="1.1.0" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin secret-manager
COPY --from=client-packages /app /app
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 TMPDIR=/dev/shm
USER 10001:10001
# It is healthy while it answers, also without the service.
HEALTHCHECK --start-period=30s --start-interval=2s --interval=30s --timeout=30s --retries=5 \
    CMD ["secret-manager", "swarm-driver", "--check"]
ENTRYPOINT ["secret-manager"]
CMD ["swarm-driver"]

FROM tools AS server-packages
# `--build-arg LOCK=tracing` builds an image with tracing, `LOCK=rotation` one with the drivers of databases, and `LOCK=pkcs11`
# one for HSMs, whose PKCS#11 module is not part of it.
ARG LOCK=service
COPY requirements/${LOCK}.txt requirements/
RUN tools/bin/pip --python /app/bin/python install --quiet --no-cache-dir --only-binary :all: --require-hashes \
        -r requirements/${LOCK}.txt
COPY --from=wheel /build/wheels wheels
RUN tools/bin/pip --python /app/bin/python install --quiet --no-cache-dir --no-deps wheels/*.whl

# The service, and all commands: the default target.
FROM ${PYTHON_IMAGE} AS server
LABEL org.opencontainers.image.title="secret-manager" org.opencontainers.image.version="1.1.0" \
    org.opencontainers.image.licenses="Apache-2.0"
# /backups: a new volume there gets its owner.
RUN useradd --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin secret-manager \
    && install -d -o 10001 -g 10001 -m 0700 /backups
COPY --from=server-packages /app /app
# /dev/shm: gunicorn needs a folder for its workers' heartbeat files, and the root file system may be read-only.
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 TMPDIR=/dev/shm
USER 10001:10001
EXPOSE 8000 9464
# Ready at the start, later only alive: Swarm would replace replicas during an outage of MongoDB, which makes it longer.
HEALTHCHECK --start-period=30s --start-interval=2s --interval=10s --timeout=8s --retries=3 \
    CMD ["secret-manager", "ready", "--start-marker", "/dev/shm/secret-manager-started"]
ENTRYPOINT ["secret-manager"]
CMD ["serve"]
