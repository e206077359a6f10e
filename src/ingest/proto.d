src/ingest/proto.o: src/ingest/proto.c src/ingest/proto.h
src/ingest/proto.h:
