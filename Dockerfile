# The light install with the shipped model, for `earmark serve` and `earmark listen`: docs/guides/listen.md
FROM python:3.12-slim
# microphones need PortAudio
RUN apt-get update && apt-get install -y --no-install-recommends libportaudio2 && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt '/source[serve,live,media]' \
    && rm -rf /source \
    && useradd --create-home earmark \
    && install -d -o earmark /clips
USER earmark
WORKDIR /home/earmark
VOLUME /clips
EXPOSE 8000
ENTRYPOINT ["earmark"]
CMD ["serve", "--help"]
