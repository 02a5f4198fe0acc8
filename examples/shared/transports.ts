import type * as Layer from "effect/Layer"
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

interface Choice {
  readonly title: string
  readonly layer: Layer.Layer<Transport.Transport, CredentialsError | MissingPackage, Credentials.Credentials>
  /** What a node of the cluster is: a process of its own, or a fiber where the transport does not leave the process. */
  readonly nodes: "processes" | "fibers"
}

// A node that was killed is back within seconds: without the limit, peers would look for it ever more rarely.
const options = { maxReconnectBackoff: "1 second" } as const

const choices = {
  tls: { title: "framed calls on mutual TLS", layer: Tls.layer(options), nodes: "processes" },
  grpc: { title: "gRPC over mutual TLS", layer: Grpc.layer(options), nodes: "processes" },
  quic: { title: "gRPC over HTTP/3 on QUIC", layer: Quic.layer(options), nodes: "processes" },
  memory: { title: "the in-memory transport", layer: MemoryLive, nodes: "fibers" }
} satisfies Record<string, Choice>

export type TransportName = keyof typeof choices

/** The transports to choose from. Nothing else in this program depends on the choice. */
export const transports: Record<TransportName, Choice> = choices

export const transportNames = ["tls", "grpc", "quic", "memory"] as const satisfies ReadonlyArray<TransportName>

/** Those that leave the process. */
export const networkTransports = ["tls", "grpc", "quic"] as const satisfies ReadonlyArray<TransportName>
