src/codec/rle.o: src/codec/rle.c src/codec/codec_internal.h \
 src/codec/codec.h
src/codec/codec_internal.h:
src/codec/codec.h:
