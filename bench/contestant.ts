/** What takes part in the benchmarks: a file in contestants/ whose default export is one of these. */
import type { EchoRequest, EchoResponse } from "../examples/gen/echo/v1/echo_pb.js"

/** PEM, the same for both sides and for every contestant. */
export interface Certificates {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

export interface Contestant {
  /** Serves `EchoService` with mutual TLS on a port that the system chooses. Lives as long as the process. */
  readonly serve: (certificates: Certificates, consumer: Consumer) => Promise<number>
  /** The same without TLS. */
  readonly serveCleartext?: (consumer: Consumer) => Promise<number>
  /** What a process that calls others has once, however many they are. */
  readonly client: (certificates: Certificates) => Promise<Client>
}

export interface Client {
  /** Opens a connection of its own, whatever connections there are already. */
  readonly connect: (port: number) => Promise<Connection>
  readonly close: () => Promise<void>
}

export interface Connection {
  /** Makes one call after the other for as long as there is work. */
  readonly work: (work: Work) => Promise<void>
  readonly close: () => Promise<void>
  /** `EchoServerStream`. Without it, the contestant takes no part in the benchmarks of streams. */
  readonly download?: (request: Pick<EchoRequest, "repeat" | "payloadSize">, consumer: Consumer) => Promise<void>
  /** `EchoClientStream`; gives the number of messages that the server says it received. */
  readonly upload?: (payload: Uint8Array, repeat: number) => Promise<number>
}

/** The ways that a stream goes, as the client sees it. */
export const directions = ["download", "upload"] as const

export type Direction = (typeof directions)[number]

/** The calls of one worker. */
export interface Work {
  /** The next request, or nothing when time is up. */
  readonly next: () => Pick<EchoRequest, "payload"> | undefined
  /** Checks the reply to it, and takes the time. */
  readonly done: (reply: Pick<EchoResponse, "payload">) => void
}

/** Called with each message of a stream; the next one is not taken before it is done. */
export type Consumer = (payload: Uint8Array) => Promise<void> | undefined
