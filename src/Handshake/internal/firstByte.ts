/** Tells a client that speaks TLS from one that doesn't, by the first byte it sends. */
import type * as Net from "node:net"

/** The type of the record that a TLS client begins with (RFC 8446, section 5.1). */
const handshakeRecord = 22

/** A fatal alert as its own record (RFC 8446, section 6). */
const alert = (description: number): Uint8Array => Buffer.from([21, 3, 3, 0, 2, 2, description])

export const protocolVersionAlert: Uint8Array = alert(70)

export const accessDeniedAlert: Uint8Array = alert(49)

/**
 * Calls `onFirst` once, when the first bytes have arrived; those of a TLS client are put back for the handshake to
 * read. OpenSSL hangs up on other protocols without an alert, which a client without TLS would take for a server that
 * goes away.
 */
export const readFirst = (
  socket: Net.Socket,
  guard: (f: () => void) => void,
  onFirst: (isTls: boolean) => void
): void => {
  const read = () => {
    const bytes: unknown = socket.read()
    if (!Buffer.isBuffer(bytes)) {
      return
    }
    socket.off("readable", onReadable)
    const isTls = bytes[0] === handshakeRecord
    if (isTls) {
      socket.unshift(bytes)
    }
    onFirst(isTls)
  }
  const onReadable = () => guard(read)
  socket.on("readable", onReadable)
}
