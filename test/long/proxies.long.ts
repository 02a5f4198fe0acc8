/** gRPC's interoperability tests between our client and our listener with a proxy between them, TLS on both of its sides. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { describeWith, freePort, start } from "../fixtures/command.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import { casesBetween } from "../fixtures/interop/interopSuite.js"
import * as Ours from "../fixtures/interop/ours.js"
import { identities, writeCertificates } from "../Quic/peerSupport.js"
import { directory } from "../suite/fixtures/system.js"

/** A proxy in front of a listener: it shows a certificate to both, and requires one of its clients. */
type Proxy = (listener: string) => Effect.Effect<string, never, Scope.Scope>

/** Starts a proxy whose configuration names its own port and that of the listener. */
const proxy =
  (
    configure: (port: number, listener: string) => string,
    run: (dir: string) => readonly [command: string, args: ReadonlyArray<string>, ready: RegExp]
  ): Proxy =>
  (listener) =>
    Effect.gen(function* () {
      const dir = yield* Effect.tap(directory, writeCertificates)
      const port = yield* freePort
      yield* Effect.promise(() => writeFile(join(dir, "config"), configure(port, listener)))
      const [command, args, ready] = run(dir)
      const home = { HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir }
      const { said } = yield* start(command, args, dir, home)
      yield* said(ready)
      return `localhost:${port}`
    })

const nginx = proxy(
  (port, listener) => `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:${port} ssl http2;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    ssl_client_certificate ca.pem;
    ssl_verify_client on;
    client_max_body_size 0;
    location / {
      grpc_pass grpcs://${listener};
      grpc_ssl_certificate cert.pem;
      grpc_ssl_certificate_key key.pem;
      grpc_ssl_trusted_certificate ca.pem;
      grpc_ssl_verify on;
      grpc_ssl_name localhost;
    }
  }
}
`,
  (dir) => ["/usr/sbin/nginx", ["-p", dir, "-c", "config", "-e", "stderr"], /start worker processes|using the "epoll"/]
)

const caddy = proxy(
  (port, listener) => `{
  admin off
  auto_https off
  servers {
    strict_sni_host insecure_off
  }
}
:${port} {
  bind 127.0.0.1
  tls cert.pem key.pem {
    client_auth {
      mode require_and_verify
      trusted_ca_cert_file ca.pem
    }
  }
  reverse_proxy https://${listener} {
    flush_interval -1
    transport http {
      versions 2
      tls_client_auth cert.pem key.pem
      tls_trusted_ca_certs ca.pem
      tls_server_name localhost
    }
  }
}
`,
  () => ["caddy", ["run", "--config", "config", "--adapter", "caddyfile"], /serving initial configuration/]
)

/** Cases in which Go's HTTP/2 ends a call whose requests have not ended with RST_STREAM behind its status. */
const early = [
  "status_code_and_message",
  "special_status_message",
  "status_details",
  "unimplemented_method",
  "unimplemented_service"
]

for (const [command, through, resets] of [
  ["/usr/sbin/nginx", nginx, []],
  ["caddy", caddy, early]
] as const) {
  describeWith([command], `through ${command}`, () =>
    describeEngines(({ limits, on }) =>
      casesBetween(
        Effect.gen(function* () {
          const listener = yield* on(identities.good)(Ours.server)
          const target = yield* through(listener.target)
          return yield* on(identities.good)(Ours.client(target))
        }),
        limits.earlyStatus === undefined
          ? {}
          : Object.fromEntries(resets.map((name) => [name, limits.earlyStatus ?? ""]))
      )
    )
  )
}
