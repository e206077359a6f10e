src/codec/gorilla.o: src/codec/gorilla.c src/codec/codec_internal.h \
 src/codec/codec.h
src/codec/codec_internal.h:
src/codec/codec.h:
