/** The chain that a live node presents, whoever has issued it. */
import * as Net from "node:net"
import * as Tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { Peer, Quic, type TransportError } from "effect-transport"
import { exitCodes, Failure } from "../../shared/failure.js"
import type * as Wires from "../../shared/transport.js"

/** What a node shows of itself in a handshake. */
export interface Presented {
  /** DER, the leaf first. */
  readonly chain: ReadonlyArray<Uint8Array>
  readonly protocol?: string
}

/** The most certificates of a chain that are looked at, as in the library. */
const maxLength = 8

const chainOf = (socket: Tls.TLSSocket): ReadonlyArray<Uint8Array> => {
  const chain: Array<Uint8Array> = []
  let link: Tls.DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  while (link?.raw !== undefined && chain.length < maxLength) {
    chain.push(link.raw)
    link = link.issuerCertificate === link ? undefined : link.issuerCertificate
  }
  return chain
}

const alpn = { grpc: "h2", tls: "effect-transport/1" } as const

/** Nothing is verified here: that is what the chain is wanted for. Nothing is sent either. */
const overTcp = (target: string, nameWanted: string, wire: "grpc" | "tls"): Effect.Effect<Presented, Failure> =>
  Effect.async((resume) => {
    const parsed = Peer.parseTarget(target)
    const fail = (message: string, hint: string) =>
      resume(Effect.fail(new Failure({ message, hint, exitCode: exitCodes.handshake })))
    if (Either.isLeft(parsed)) {
      return fail(parsed.left, "check the target")
    }
    const to =
      parsed.right._tag === "Unix" ? { path: parsed.right.path } : { host: parsed.right.host, port: parsed.right.port }
    const socket = Tls.connect({
      ...to,
      ...(Net.isIP(nameWanted) === 0 ? { servername: nameWanted } : {}),
      ALPNProtocols: [alpn[wire]],
      rejectUnauthorized: false
    })
    let isConnected = false
    socket.once("connect", () => {
      isConnected = true
    })
    socket.once("secureConnect", () => {
      const { standardName } = socket.getCipher()
      const agreed = socket.alpnProtocol === false ? "no common protocol" : socket.alpnProtocol
      resume(
        Effect.succeed({
          chain: chainOf(socket),
          protocol: `${socket.getProtocol()}, ${standardName}, ALPN ${agreed ?? "none"}`
        })
      )
      socket.destroy()
    })
    socket.on("error", (error) =>
      fail(
        isConnected
          ? `${target} does not speak TLS as it should: ${error.message}`
          : `can't connect to ${target}: ${error.message || String(error)}`,
        isConnected ? "check --wire and the port" : "check the target, --wire, and that the node runs"
      )
    )
    socket.on("close", () => fail(`${target} has ended the connection`, "check --wire and the port"))
    return Effect.sync(() => socket.destroy())
  })

export const presentedBy = (
  target: string,
  nameWanted: string,
  config: Wires.ConnectionConfig
): Effect.Effect<Presented, Failure | TransportError.ConnectError | TransportError.MissingPackage> =>
  config.wire === "quic"
    ? Effect.map(Quic.presented(target, { serverName: nameWanted, connectTimeout: config.timeout }), (chain) => ({
        chain
      }))
    : overTcp(target, nameWanted, config.wire)
