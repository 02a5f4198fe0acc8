/** Binds a server to its address, and takes over the unix socket of a process that has crashed. */
import type * as Net from "node:net"
import * as Effect from "effect/Effect"
import * as Bind from "../../Transport/internal/bind.js"
import type * as Peer from "../../Transport/Peer.js"
import type { BindError } from "../../Transport/TransportError.js"
import type { ListenOptions } from "../../Transport/TransportService.js"
import * as UnixSocket from "./unixSocket.js"

/** The longest path of a unix socket, in bytes (`sun_path`). libuv cuts off the rest of a longer one and binds that. */
const maxPathBytes = process.platform === "linux" ? 107 : 103

/**
 * Binds and listens; returns the address with the port that the system chose. `onError` gets the errors of the server
 * from then on. Fails with `BindError` if the system refuses the address, or if another process listens there.
 */
export const bindServer = (
  server: Net.Server,
  where: ListenOptions,
  onError: (error: Error) => void
): Effect.Effect<Peer.Address, BindError> =>
  Effect.catchIf(
    bindOnce(server, where, onError),
    ({ reason }) => reason === "AddressInUse" && where.path !== undefined,
    (error) =>
      Effect.flatMap(UnixSocket.removeStale(where.path ?? ""), (removed) =>
        removed
          ? Effect.zipRight(
              Effect.logWarning(`nobody was listening on unix:${where.path} any more; removed it and binding again`),
              bindOnce(server, where, onError)
            )
          : Effect.fail(error)
      )
  )

const bindOnce = (
  server: Net.Server,
  where: ListenOptions,
  onError: (error: Error) => void
): Effect.Effect<Peer.Address, BindError> =>
  Effect.async((resume) => {
    const wanted = Bind.address(where)
    const { path } = wanted
    const fail = (cause: NodeJS.ErrnoException) => resume(Effect.fail(Bind.fromSystem(where, cause)))
    if (path !== undefined && Buffer.byteLength(path) > maxPathBytes) {
      return fail(Object.assign(new Error(`longer than ${maxPathBytes} bytes`), { code: "ENAMETOOLONG" }))
    }
    server.once("error", fail)
    const onListening = () => {
      server.off("error", fail).on("error", onError)
      const bound = server.address()
      resume(Effect.succeed(typeof bound === "object" && bound !== null ? { ...wanted, port: bound.port } : wanted))
    }
    if (path === undefined) {
      server.listen(wanted, onListening)
    } else {
      UnixSocket.withMode(path, where.mode ?? 0o600, () => server.listen({ path }, onListening))
    }
    return Effect.sync(() => server.close())
  })
