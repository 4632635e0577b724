# Two images: `web` carries the server alone, `worker` also the science (torch and the rest, several gigabytes).
FROM python:3.11-slim AS web
WORKDIR /discern
COPY . .
RUN pip install --no-cache-dir -c constraints.txt .
# The volumes of docker-compose.yml take over owner and mode of these folders when they are first mounted.
RUN useradd --create-home discern && install -d -o discern -g discern /data /studies
USER discern
WORKDIR /studies
ENV DISCERN_HOME=/data
ENTRYPOINT ["discern"]

FROM web AS worker
USER root
RUN pip install --no-cache-dir -c /discern/constraints.txt '/discern[pipelines]'
USER discern
