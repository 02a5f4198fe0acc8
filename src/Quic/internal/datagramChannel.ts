/** The request that the datagrams of a connection belong to, at both of its ends. */
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CallErrors from "../../Calls/CallErrors.js"
import type * as Reconnected from "../../Connections/ReconnectingConnection.js"
import * as Deferred from "../../effect/Deferred.js"
import * as Fields from "../../protocol/http/HttpFields.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Peer } from "../../Transport/Peer.js"
import { type CallError, Unavailable, Unimplemented } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import { type Channel, DatagramTooLarge } from "../Datagrams.js"
import type { Settings } from "../QuicOptions.js"
import type { Http3Session } from "./http3Session.js"
import type { Body } from "./quicIncoming.js"
import { type Link, maxFieldSectionSize } from "./quicLink.js"

/** The request of docs/http3.md. */
export const path = "/.well-known/effect-transport/datagrams"

export const isOpening = ({ method, path: asked }: Fields.RequestHead): boolean => method === "POST" && asked === path

/** A request, and the connection that it is on. */
interface Request {
  readonly session: Http3Session
  readonly id: number
}

/** A channel, whatever request it runs on. */
export interface Open {
  readonly channel: Channel
  /** The program has asked for it: what comes is kept from now on. */
  readonly want: () => void
  /** The request that it runs on from now on. */
  readonly attach: (request: Request | undefined) => void
  readonly push: (payload: Buffer) => void
  /** Ends the channel, and the request that it runs on. */
  readonly close: Effect.Effect<void>
}

const drop = (direction: "sending" | "receiving") =>
  Metric.tagged(TransportMetrics.datagramsDropped, "direction", direction).unsafeUpdate(1, [])

/** What a datagram that waits costs beside its bytes. */
const overhead = 128

/** How much may wait. */
type Capacity = Pick<Settings, "maxDatagrams" | "maxDatagramBytes">

export const make = (peer: Peer, { maxDatagramBytes, maxDatagrams }: Capacity): Effect.Effect<Open> =>
  Effect.map(Mailbox.make<Uint8Array>({ capacity: maxDatagrams, strategy: "dropping" }), (mailbox) => {
    let request: Request | undefined
    let isWanted = false
    /** Of those that wait. */
    let bytes = 0
    const dropped = { sending: 0, receiving: 0 }
    const maxSize = Effect.suspend(() => {
      const size = request?.session.maxDatagramSize(request.id)
      return size === undefined
        ? Effect.fail(
            new Unavailable({ message: "there is no connection for datagrams", peer: peer.address, processed: "no" })
          )
        : Effect.succeed(size)
    })
    return {
      attach: (next) => {
        request = next
      },
      want: () => {
        isWanted = true
      },
      push: (payload) => {
        const cost = payload.length + overhead
        if (isWanted && bytes + cost <= maxDatagramBytes && mailbox.unsafeOffer(Uint8Array.from(payload))) {
          bytes += cost
        } else {
          dropped.receiving += 1
          drop("receiving")
        }
      },
      close: Effect.suspend(() => {
        request?.session.cancel(request.id, "H3_REQUEST_CANCELLED")
        request = undefined
        return Effect.asVoid(mailbox.end)
      }),
      channel: {
        peer,
        maxSize,
        received: Stream.mapChunks(Mailbox.toStream(mailbox), (taken) => {
          for (const { length } of taken) {
            bytes -= length + overhead
          }
          return taken
        }),
        dropped: Effect.sync(() => ({ ...dropped })),
        send: (bytes) =>
          Effect.flatMap(maxSize, (maxSize) => {
            if (bytes.length > maxSize) {
              const message = `the datagram has ${bytes.length} bytes, more than the ${maxSize} that fit`
              return Effect.fail(new DatagramTooLarge({ message, peer: peer.address, size: bytes.length, maxSize }))
            }
            if (request?.session.sendDatagram(request.id, bytes) !== true) {
              dropped.sending += 1
              drop("sending")
            }
            return Effect.void
          })
      }
    }
  })

const nothing = () => {}

/** Opens the request on a live connection. Completes when the peer has agreed; `onEnd` is called when it is over. */
export const request = (
  { name, session, settings, quota, writer }: Link,
  { attach, push }: Open,
  timeout: number,
  onEnd: () => void
): Effect.Effect<void, CallError> =>
  Effect.async<void, CallError>((resume) => {
    const where = { method: path, peer: name }
    let id: number | undefined
    const end = (why: string) => {
      attach(undefined)
      cancel()
      resume(Effect.fail(new Unavailable({ message: why, ...where })))
      onEnd()
    }
    const cancel = () => {
      if (id !== undefined) {
        session.cancel(id, "H3_REQUEST_CANCELLED")
      }
    }
    const refuse = (status: number) => {
      cancel()
      resume(Effect.fail(new Unimplemented({ message: `the peer takes no datagrams: HTTP ${status}`, ...where })))
    }
    const start = () => {
      const kind = Http3Message.responses(
        {
          onInformational: nothing,
          onHead: ({ status }) => {
            if (status !== 200 || session.maxDatagramSize(opened) === undefined) {
              return refuse(status)
            }
            attach({ session, id: opened })
            resume(Effect.void)
          },
          onData: nothing,
          onTrailers: nothing,
          onEnd: () => end("the peer has ended the datagrams")
        },
        { maxFieldSectionSize: maxFieldSectionSize(settings), method: "POST" }
      )
      const opened = session.open(
        {
          onBytes: Http3Message.receive,
          onDatagram: push,
          onReset: () => end("the peer has broken the datagrams off"),
          onStopped: nothing,
          onViolation: ({ text }) => end(text),
          onLost: end
        },
        Http3Message.make(kind, undefined)
      )
      id = opened
      Frames.writeHeaders(
        writer,
        Fields.requestSection({ method: "POST", scheme: "https", authority: name, path, fields: [] })
      )
      session.write(opened, Varint.take(writer), false)
    }
    const leave = quota.acquire(where, timeout, start, (error) => resume(Effect.fail(error)))
    return Effect.sync(() => {
      leave()
      cancel()
    })
  }).pipe(
    Effect.timeoutFail({
      duration: timeout,
      onTimeout: () => CallErrors.closedBefore({ method: path, peer: name })
    })
  )

/** The channels that peers have open to the listeners of one transport. */
export interface Channels {
  /** Agrees to the request of a client. */
  readonly agree: (link: Link, id: number) => Body
  readonly over: (connection: CallConnection) => Option.Option<Channel>
  readonly all: Stream.Stream<Channel>
}

/** Channels that were opened and nobody has looked at yet. */
const maxNew = 1024

export const makeChannels: Effect.Effect<Channels> = Effect.gen(function* () {
  const opened = yield* PubSub.sliding<Open>(maxNew)
  const run = Runtime.runSync(yield* Effect.runtime())
  /** A connection has one. A client that opens another has given the first up, which may not have arrived yet. */
  const current = new Map<CallConnection, Open>()
  const given = (open: Open): Channel => {
    open.want()
    return open.channel
  }
  return {
    agree: ({ connection, peer, session, settings, writer }, id) => {
      const open = run(make(peer, settings))
      const end = () => {
        if (current.get(connection) === open) {
          current.delete(connection)
        }
        run(open.close)
      }
      const before = current.get(connection)
      current.set(connection, open)
      if (before !== undefined) {
        run(before.close)
      }
      open.attach({ session, id })
      opened.unsafeOffer(open)
      Frames.writeHeaders(writer, Fields.responseSection({ status: 200, fields: [] }))
      session.write(id, Varint.take(writer), false)
      return { onData: nothing, onEnd: end, onGone: end, onDatagram: open.push }
    },
    over: (connection) => Option.map(Option.fromNullable(current.get(connection)), given),
    all: Stream.unwrapScoped(
      Effect.map(PubSub.subscribe(opened), (later) =>
        Stream.concat(
          Stream.suspend(() => Stream.fromIterable([...current.values()])),
          Stream.fromQueue(later)
        ).pipe(Stream.map(given))
      )
    )
  }
})

/** How long to wait before reopening a channel that the peer has ended. */
const reopenDelay = "1 second"

/** A channel on a connection that is replaced when it is lost. */
export const connect = (
  connection: Effect.Effect<Reconnected.Reconnected<{ readonly link: Link } & Reconnected.Live>>,
  capacity: Capacity,
  timeout: number
): Effect.Effect<Channel, CallError, Scope.Scope> =>
  Effect.gen(function* () {
    const linkOf = (waitForReady: boolean) =>
      Effect.flatMap(connection, ({ withLive }) => withLive(path, { timeout, waitForReady }, ({ link }) => link))
    const { peer } = yield* linkOf(false)
    const open = yield* Effect.acquireRelease(make(peer, capacity), ({ close }) => close)
    open.want()
    const attach = (waitForReady: boolean) =>
      Effect.gen(function* () {
        const ended = yield* Deferred.make<void>()
        const link = yield* linkOf(waitForReady)
        yield* request(link, open, timeout, () => Deferred.doneUnsafe(ended, Effect.void))
        return Deferred.await(ended)
      })
    const reopen: Effect.Effect<Effect.Effect<void>> = Effect.catchAll(attach(true), () =>
      Effect.delay(reopen, reopenDelay)
    )
    const first = yield* attach(false)
    yield* Effect.forkScoped(
      Effect.interruptible(
        Effect.iterate(first, { while: () => true, body: (ended) => Effect.zipRight(ended, reopen) })
      )
    )
    return open.channel
  })
