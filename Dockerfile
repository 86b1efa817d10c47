# The command in a container, built from the files at hand:
#
#   docker build -t convatlas .
#   docker run --rm -it -v "$PWD:/work" --user "$(id -u):$(id -g)" convatlas train lenet5 --data digits
#
# Without a network, with wheels in a folder `wheels`: --build-arg PIP_OPTIONS="--no-index --find-links wheels".
FROM python:3.12-slim AS build
ARG PIP_OPTIONS=""
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir $PIP_OPTIONS build hatchling \
 && python -m build --no-isolation --wheel --outdir /dist \
 && pip wheel --no-cache-dir $PIP_OPTIONS --constraint constraints.txt --wheel-dir /dist /dist/convatlas-*.whl

FROM python:3.12-slim
RUN --mount=from=build,source=/dist,target=/dist pip install --no-cache-dir --no-index --find-links /dist convatlas
ENV CONVATLAS_CACHE=/tmp/convatlas
WORKDIR /work
ENTRYPOINT ["convatlas"]
