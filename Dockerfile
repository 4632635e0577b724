FROM python:3.11-slim
WORKDIR /discern
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[pipelines]'
RUN useradd --create-home discern
USER discern
WORKDIR /home/discern
ENTRYPOINT ["discern"]
