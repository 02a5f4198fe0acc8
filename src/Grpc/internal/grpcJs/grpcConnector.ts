/** Gives grpc-js sockets whose handshake, ours and not its own, is done. */
import { AsyncLocalStorage } from "node:async_hooks"
import * as DiagnosticsChannel from "node:diagnostics_channel"
import { Socket } from "node:net"
import * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Credentials from "../../../Credentials/Credentials.js"
import * as Reverification from "../../../Handshake/Reverification.js"
import * as TlsHandshake from "../../../Handshake/TlsHandshake.js"
import { type Boundary, escapeText } from "../../../Transport/internal/boundary.js"
import { HandshakeFailed, Unavailable } from "../../../Transport/TransportError.js"
import * as GrpcRefusal from "../grpcRefusal.js"

/**
 * How long a server may wait for the client to speak first. RFC 9113 lets it; the servers in use send SETTINGS at once,
 * so that after this pause HTTP/2 begins without having seen whether the server refuses.
 */
const firstBytesPeriod = Duration.seconds(1)

/**
 * The same without TLS. Servers that tell HTTP/2 from HTTP/1 by the client's first bytes are common there, and nobody is
 * refused but by a listener of this library with an authorizer.
 */
const firstPlainBytesPeriod = Duration.millis(200)

/**
 * Waits for the server's first bytes and puts them back. A server that refuses a client certificate says so only now:
 * in TLS 1.3 the handshake is over at the client before the server has seen its certificate.
 */
const checkFirstBytes = (
  socket: Socket,
  peer: string,
  period: Duration.Duration,
  hasCertificate: boolean,
  secured?: TlsHandshake.SecureSocket
) => {
  const refused = (reason: HandshakeFailed["reason"], message: string) =>
    Effect.fail(new HandshakeFailed({ reason, refusedBy: "remote", message, peer }))
  const bytes = Effect.async<Buffer | undefined>((resume) => {
    const onReadable = () => {
      const read: unknown = socket.read()
      if (Buffer.isBuffer(read)) {
        done(read)
      }
    }
    const onClose = () => done(undefined)
    const done = (read: Buffer | undefined) => {
      stop()
      resume(Effect.succeed(read))
    }
    const stop = () => {
      socket.off("readable", onReadable)
      socket.off("close", onClose)
      socket.off("error", onClose)
    }
    socket.on("readable", onReadable)
    socket.on("close", onClose)
    socket.on("error", onClose)
    onReadable()
    return Effect.sync(stop)
  })
  return Effect.flatMap(
    Effect.timeoutOption(bytes, period),
    (read): Effect.Effect<void, HandshakeFailed | Unavailable> => {
      if (Option.isNone(read)) {
        return Effect.void
      }
      if (read.value === undefined) {
        const damage = Option.getOrUndefined(secured?.damage() ?? Option.none())
        if (damage !== undefined) {
          return Effect.fail(damage)
        }
        return Option.getOrElse(secured?.refusal() ?? Option.none<HandshakeFailed>(), () =>
          hasCertificate
            ? refused("Refused", `${peer} closed the connection right after the handshake`)
            : refused("CertificateRequired", `${peer} closed the connection, to which no certificate was presented`)
        )
      }
      const reason = GrpcRefusal.decode(read.value)
      if (Option.isSome(reason)) {
        return secured === undefined
          ? refused(reason.value, `${peer} refused the connection: ${reason.value}`)
          : Effect.fail(secured.refusedWith(reason.value))
      }
      const turnedAway = GrpcRefusal.turnedAwayText(read.value)
      if (turnedAway !== undefined) {
        const message = `${peer} ended the connection: ENHANCE_YOUR_CALM, ${escapeText(turnedAway)}`
        return Effect.fail(new Unavailable({ message, peer, processed: "no" }))
      }
      if (!GrpcRefusal.isHttp2(read.value)) {
        return refused("NoCommonProtocol", `${peer} does not speak HTTP/2`)
      }
      socket.unshift(read.value)
      return Effect.void
    }
  )
}

/** Makes a connected socket ready for HTTP/2. */
export const secure = (
  socket: Socket,
  material: Credentials.Material,
  nameWanted: string,
  peer: string,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  leave: () => void
): Effect.Effect<{ readonly socket: Socket; readonly secure: boolean }, HandshakeFailed | Unavailable> =>
  Effect.gen(function* () {
    if (material._tag === "Insecure") {
      yield* checkFirstBytes(socket, peer, firstPlainBytesPeriod, true).pipe(
        // Without TLS there is no certificate to refuse: a peer that hangs up is one that is going away.
        Effect.catchIf(
          (error) => error._tag === "HandshakeFailed" && error.reason === "Refused",
          (error) => new Unavailable({ message: error.message, peer, processed: "no" })
        )
      )
      return { socket, secure: false }
    }
    const secured = yield* TlsHandshake.connectSecure(socket, {
      material,
      nameWanted,
      alpnProtocols: ["h2"],
      peer,
      boundary
    })
    const hasCertificate = Option.isSome(material.certificate)
    yield* checkFirstBytes(secured.socket, peer, firstBytesPeriod, hasCertificate, secured)
    if (Option.isSome(secured.evidence) && !secured.socket.destroyed) {
      const server = Reverification.server(secured.evidence.value, peer, nameWanted, {
        leave,
        close: () => {
          secured.socket.destroy()
        }
      })
      secured.socket.once("close", reverification.add(server))
    }
    return { socket: secured.socket, secure: true }
  })

/**
 * Catches the socket that grpc-js opens next in this asynchronous context. It gives nobody the sockets that it connects,
 * and waits for them as long as the system does: two minutes where no answer comes, and the process with it.
 */
const catchSocket = (onSocket: (socket: Socket) => void): void => {
  const context = new AsyncLocalStorage<true>()
  const onCreated = (message: unknown) => {
    if (context.getStore() === true) {
      context.disable()
      DiagnosticsChannel.unsubscribe("net.client.socket", onCreated)
      if (typeof message === "object" && message !== null && "socket" in message && message.socket instanceof Socket) {
        onSocket(message.socket)
      }
    }
  }
  DiagnosticsChannel.subscribe("net.client.socket", onCreated)
  context.enterWith(true)
}

type SecureConnector = ReturnType<Grpc.ChannelCredentials["_createSecureConnector"]>

/** What becomes of the sockets of a channel. */
export interface Steps {
  /** Called with each socket before it is connected. */
  readonly onSocket: (socket: Socket) => void
  /** Called with the socket when it is connected. */
  readonly handshake: SecureConnector["connect"]
}

/**
 * grpc-js reports a failed handshake as UNAVAILABLE with a text. These credentials do the handshake themselves, so that
 * its true reason is known.
 */
export class OwnedHandshake extends Grpc.ChannelCredentials {
  constructor(
    readonly isSecure: boolean,
    readonly steps: Steps
  ) {
    super()
  }
  override _isSecure(): boolean {
    return this.isSecure
  }
  override _equals(other: Grpc.ChannelCredentials): boolean {
    return this === other
  }
  override _createSecureConnector(): SecureConnector {
    return {
      connect: this.steps.handshake,
      // The last that is asked for before the socket is opened.
      waitForReady: () => {
        catchSocket(this.steps.onSocket)
        return Promise.resolve()
      },
      getCallCredentials: () => Grpc.CallCredentials.createEmpty(),
      destroy: () => {}
    }
  }
}
