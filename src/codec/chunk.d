src/codec/chunk.o: src/codec/chunk.c src/codec/codec_internal.h \
 src/codec/codec.h
src/codec/codec_internal.h:
src/codec/codec.h:
