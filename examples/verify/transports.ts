import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import {
  type Credentials,
  type CredentialsError,
  Grpc,
  MemoryLive,
  type MissingPackage,
  Quic,
  Tls,
  type Transport
} from "effect-transport"

/** What an echo can travel over. */
export const TransportName = Schema.Literal("grpc", "tls", "quic", "memory").annotations({
  identifier: "TransportName",
  message: () => ({ message: "transport is grpc, tls, quic or memory", override: true })
})

export type TransportName = typeof TransportName.Type

/** One of the transports that this app starts a node of. */
export interface Choice {
  readonly name: TransportName
  readonly title: string
  readonly wire: string
  readonly layer: Layer.Layer<Transport.Transport, CredentialsError | MissingPackage, Credentials.Credentials>
  /** What carries it; none within a process. */
  readonly protocol: Option.Option<"tcp" | "udp">
  /** Whether both sides prove who they are, which makes no sense inside one process. */
  readonly authenticated: boolean
}

// A node that was restarted is found at once: with the defaults, the page would wait for it for seconds. And connections
// do not outlive the certificates that they began with for long.
const options = {
  initialReconnectBackoff: "100 millis",
  maxReconnectBackoff: "500 millis",
  rehandshakeWithin: "2 seconds"
} as const

/** All of them. Nothing else in this app depends on the choice. */
export const transports: ReadonlyArray<Choice> = [
  {
    name: "grpc",
    title: "gRPC",
    wire: "HTTP/2 on mutual TLS",
    layer: Grpc.layer(options),
    protocol: Option.some("tcp"),
    authenticated: true
  },
  {
    name: "tls",
    title: "TLS",
    wire: "framed calls on one mutual TLS connection",
    layer: Tls.layer(options),
    protocol: Option.some("tcp"),
    authenticated: true
  },
  {
    name: "quic",
    title: "QUIC",
    wire: "gRPC over HTTP/3, on UDP",
    layer: Quic.layer(options),
    protocol: Option.some("udp"),
    authenticated: true
  },
  {
    name: "memory",
    title: "Memory",
    wire: "none: it stays in the process",
    layer: MemoryLive,
    protocol: Option.none(),
    authenticated: false
  }
]
