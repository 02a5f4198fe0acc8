/** A wire between the threads of a process: calls as frames on a `MessagePort`. docs/guide/your-own-wire.md explains it. */
import { MessageChannel, type MessagePort } from "node:worker_threads"
import { Effect, Layer, Option, type Scope } from "effect"
import { type Metadata, Peer, Transport, TransportOptions } from "effect-transport"
import * as Wire from "effect-transport/wire"

type Entries = Metadata.Metadata["entries"]
type Settings = ReturnType<typeof TransportOptions.withDefaults>

/** What travels on a port: the name of a frame, and these. */
interface Frames {
  readonly hello: [limits: Wire.WireLimits.Limits]
  readonly refused: []
  readonly open: [id: number, path: string, metadata: Entries, timeout: number, request: Uint8Array | undefined]
  readonly message: [id: number, bytes: Uint8Array]
  readonly read: [id: number, count: number]
  readonly halfClose: [id: number]
  readonly cancel: [id: number]
  readonly headers: [id: number, headers: Entries]
  readonly status: [id: number, status: Wire.WireFields.Status | undefined, trailers: Entries]
  readonly unprocessed: [id: number]
  readonly goAway: []
}

type Handlers = { readonly [Name in keyof Frames]?: (...frame: Frames[Name]) => void }

/** What both ends of a port do alike. */
const endOf = (port: MessagePort, peer: string, boundary: Wire.Boundary) => {
  const close = () => port.close()
  const post =
    <Name extends keyof Frames>(name: Name) =>
    (...frame: Frames[Name]) =>
      port.postMessage([name, ...frame])
  const receive = (onEnd: () => void, handlers: Handlers) => {
    const byName = new Map(Object.entries<(...frame: Array<never>) => void>(handlers))
    port.on("message", ([name, ...frame]: [string, ...Array<never>]) =>
      boundary.guard("engine", peer, () => byName.get(name)?.(...frame), close)
    )
    port.on("messageerror", close)
    port.on("close", () => boundary.guard("engine", peer, onEnd, close))
  }
  const message = (id: number, bytes: Uint8Array) => post("message")(id, exact(bytes))
  return { post, receive, wire: { close, hello: post("hello"), message, read: post("read") } }
}

/** Without what else is in the buffer, which a structured clone would carry too. */
const exact = (bytes: Uint8Array) => (bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice())

const connectOn = (port: MessagePort, peer: string, settings: Settings, boundary: Wire.Boundary) => {
  const { post, receive, wire } = endOf(port, peer, boundary)
  const connection = Wire.ClientConnection.make({
    peer,
    settings,
    boundary,
    wire: {
      ...wire,
      open: (id, path, metadata, timeout, request) =>
        post("open")(id, path, metadata, timeout, request && exact(request)),
      halfClose: post("halfClose"),
      cancel: post("cancel")
    }
  })
  receive(connection.onEnd, {
    hello: connection.onReady,
    refused: () => connection.onRefused("NotAuthorized"),
    headers: connection.onHeaders,
    message: connection.onMessage,
    read: connection.onRead,
    status: connection.onStatus,
    unprocessed: connection.onUnprocessed,
    goAway: connection.onGoAway
  })
  return connection
}

const acceptOn = (port: MessagePort, from: string, settings: Settings, listening: Wire.WireTransport.Listening) => {
  const { post, receive, wire } = endOf(port, from, listening.server.boundary)
  const connection = Wire.ServerConnection.make({
    peer: { address: from, identity: Option.none() },
    settings,
    listening,
    wire: {
      ...wire,
      refuse: post("refused"),
      headers: post("headers"),
      status: post("status"),
      unprocessed: post("unprocessed"),
      goAway: post("goAway")
    }
  })
  receive(connection.onEnd, {
    hello: connection.onReady,
    open: connection.onOpen,
    message: connection.onMessage,
    read: connection.onRead,
    halfClose: connection.onHalfClose,
    cancel: connection.onCancel
  })
}

/** The listeners of this thread, and the ports that lead to other threads, by the names of these. */
const listeners = Wire.LocalAddresses.make<(port: MessagePort, from: string) => void>()
const threads = new Map<string, MessagePort>()

const accept = (target: string, port: MessagePort, from: string) => {
  const listener = listeners.find(target) ?? (() => port.close())
  listener(port, from)
}

/** Until the scope closes, this thread reaches the listeners of another on the host `name`; the other one joins too. */
export const join = (name: string, port: MessagePort): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      threads.set(name, port)
      port.on("message", ({ target, port }) => accept(target, port, name))
      port.on("close", () => threads.delete(name))
    }),
    () => Effect.sync(() => port.close())
  )

/** A port to whatever listens; where nothing does, it closes. */
const dial = (target: string, host: string): MessagePort => {
  const { port1, port2 } = new MessageChannel()
  const thread = threads.get(host)
  thread?.postMessage({ target, port: port2 }, [port2])
  if (thread === undefined) {
    accept(target, port2, "this thread")
  }
  return port1
}

export const layer = (options: TransportOptions.TransportOptions = {}): Layer.Layer<Transport.Transport> =>
  Layer.scoped(
    Transport.Transport,
    Effect.suspend(() => {
      const settings = TransportOptions.withDefaults(options)
      return Wire.WireTransport.make(settings, {
        connect: (target, boundary) => {
          const peer = Peer.formatTarget(target)
          const port = () => dial(peer, target._tag === "Tcp" ? target.host : "")
          return Wire.ClientConnection.reconnecting(peer, () => connectOn(port(), peer, settings, boundary))
        },
        listen: (listening, at) => listeners.bind(at, (port, from) => acceptOn(port, from, settings, listening)),
        description: "between threads"
      })
    })
  )
