src/codec/bits.o: src/codec/bits.c src/codec/codec_internal.h \
 src/codec/codec.h
src/codec/codec_internal.h:
src/codec/codec.h:
