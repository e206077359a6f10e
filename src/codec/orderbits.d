src/codec/orderbits.o: src/codec/orderbits.c src/codec/codec_internal.h \
 src/codec/codec.h
src/codec/codec_internal.h:
src/codec/codec.h:
