/*
 * Gives h2load, which has no option for it, a client certificate: LD_PRELOAD this, with the files named in CLIENT_CERTIFICATE
 * and CLIENT_KEY.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;

enum { pem = 1 };

int SSL_CTX_use_certificate_chain_file(SSL_CTX *context, const char *file);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *context, const char *file, int type);

SSL_CTX *SSL_CTX_new(const SSL_METHOD *method) {
  SSL_CTX *(*make)(const SSL_METHOD *) = dlsym(RTLD_NEXT, "SSL_CTX_new");
  SSL_CTX *context = make(method);
  if (SSL_CTX_use_certificate_chain_file(context, getenv("CLIENT_CERTIFICATE")) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, getenv("CLIENT_KEY"), pem) != 1) {
    fprintf(stderr, "the client certificate can't be used\n");
    exit(1);
  }
  return context;
}
