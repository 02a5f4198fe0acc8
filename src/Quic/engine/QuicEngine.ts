/**
 * The port to QUIC: what a transport needs of an engine, whatever library is behind it. A connection reports by callbacks, from
 * within one turn of the event loop, and nothing here waits.
 */

import type { Admission } from "../../Handshake/HandshakeAdmission.js"

/** An IP address and a port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Called with what was thrown behind a door. It has ended a connection, or the reading of a packet, and nothing else. */
export type OnThrown = (door: "packet" | "timer" | "engine", remote: HostPort, cause: unknown) => void

/** Certificates, as PEM. */
export interface TlsSettings {
  /** The only issuers that are trusted. */
  readonly ca: ReadonlyArray<string>
  readonly certificate: { readonly chain: string; readonly key: string } | undefined
  /**
   * Whether the engine verifies the peer's chain, and at a client the name. Without it, the engine only makes sure that the
   * peer has the key of the certificate it presents, if any; the caller decides whose certificate that is.
   */
  readonly verifyChain: boolean
  /** Whether a listener asks for a certificate. */
  readonly asksCertificate: boolean
}

/** What a connection allows. Times are milliseconds. */
export interface ConnectionSettings {
  readonly alpnProtocol: string
  /** The largest UDP payload to send. */
  readonly maxUdpPayload: number
  /**
   * Unread bytes of all streams together, above which streams are to be reset (`Events.onOverflow`). No flow control
   * stops the peer before that, and the engine may only know an upper bound.
   */
  readonly connectionWindow: number
  /** Unread bytes that the peer may send on one stream. */
  readonly streamWindow: number
  /** Streams that the peer may have open at a time. */
  readonly maxBidiStreams: number
  readonly maxUniStreams: number
  /** Datagrams that wait, in each direction; 0 for none at all. */
  readonly maxDatagrams: number
  /** How long the peer may be silent before it gets a ping, and how long the answer to that may take. */
  readonly keepaliveTime: number
  readonly keepaliveTimeout: number
  readonly handshakeTimeout: number
  /** Bytes that the peer may send before the handshake is over, in no more than one packet for each 512 of them. */
  readonly maxHandshakeBytes: number
  /** Packets that the peer may send in a second; with more the connection is closed. */
  readonly maxPacketRate: number
  /** Packets without content in a second, beyond what use allows for; with more the connection is closed. */
  readonly maxIdlePacketRate: number
  /** Bytes of such packets, above which `onWorn` is called after a second; at four times as many the connection is closed. */
  readonly maxIdleBytes: number
}

export interface ConnectOptions {
  readonly remote: HostPort
  /** The name to ask for and, with `verifyChain`, to find in the certificate; undefined for neither. */
  readonly serverName: string | undefined
  readonly tls: TlsSettings
  readonly settings: ConnectionSettings
  readonly onThrown?: OnThrown | undefined
}

export interface ListenOptions {
  /** `0.0.0.0` is for each IPv4 address that this machine has or gets, `::` for each of all. */
  readonly local: HostPort
  /** Further addresses, to be bound to the same port. */
  readonly otherHosts?: ReadonlyArray<string> | undefined
  /** Asked for each new connection. */
  readonly tls: () => TlsSettings
  readonly settings: ConnectionSettings
  /** Connections at a time whose handshake is over; further ones are refused. */
  readonly maxConnections: number
  /** Which handshakes may begin and go on. */
  readonly admission: Admission
  /** Bytes of all handshakes in progress; above it the one that has the most is given up. */
  readonly maxTotalHandshakeBytes: number
  readonly onConnection: (connection: Connection) => Events
  /** The socket itself has failed. */
  readonly onError: (error: Error) => void
  readonly onThrown?: OnThrown | undefined
}

/** The text of the end of a connection whose handshake took more than it may. */
export const tooMuch = "too much before the end of the handshake"

/** The text of the end of a connection whose peer sent too many packets without content. */
export const tooIdle = "too many packets without content"

/** Why a connection ended. */
export type Close =
  /** One side has closed it, with a code of the application or of the transport (RFC 9000, section 20). */
  | {
      readonly _tag: "Closed"
      readonly by: "local" | "remote"
      readonly isApplication: boolean
      readonly code: number
      readonly text: string
    }
  /** The peer is silent, nobody listens there, or the one who does has no such connection. */
  | {
      readonly _tag: "Lost"
      readonly why: "Silent" | "Unreachable" | "Reset" | "HandshakeTimeout"
      readonly cause?: Error
    }

/** Callbacks for the owner of a connection. */
export interface Events {
  /**
   * The handshake is over on this side. A client does not know yet whether the server accepted it. Nothing that the peer
   * sends is reported before `accept`.
   */
  readonly onEstablished: () => void
  /** The peer has acknowledged what was sent behind the handshake, which it can read only once it has accepted this end. */
  readonly onConfirmed: () => void
  /** The peer has opened a stream; returns the callbacks for it. */
  readonly onStream: (id: number) => StreamEvents
  /** A view, to be copied if it is kept. */
  readonly onDatagram: (datagram: Buffer) => void
  /** Bytes that were read and are kept all the same: they count as unread too. Default none. */
  readonly kept?: (() => number) | undefined
  /** What came has been reported, and what there is room for has been sent: `unread` and `unsent` may have changed. */
  readonly onTurn?: (() => void) | undefined
  /** More is unread than may be, some of it on this stream, which has to be reset. */
  readonly onOverflow: (id: number) => void
  /** So much came without content that this connection should be replaced. Called once. */
  readonly onWorn?: (() => void) | undefined
  /** The peer allows further streams, after `mayOpenBidi` said no. */
  readonly onStreamsAvailable: () => void
  /** The last callback. */
  readonly onClosed: (close: Close) => void
}

/** Callbacks for a stream. They get its id, so that one set may serve many streams. */
export interface StreamEvents {
  /** There is something to read. Called again after everything that comes, for as long as something is left. */
  readonly onReadable: (id: number) => void
  /** All that was written has been handed on, after `write` returned false. */
  readonly onDrain: (id: number) => void
  /** The peer reads no more (STOP_SENDING). The code is 0 where the engine has forgotten it. */
  readonly onStopped: (code: number, id: number) => void
}

/** What was read from a stream. */
export type Read =
  /** A view that is valid until the next read of any stream. */
  | { readonly _tag: "Bytes"; readonly bytes: Buffer; readonly fin: boolean }
  /** The peer has reset the stream (RESET_STREAM). */
  | { readonly _tag: "Reset"; readonly code: number }

export interface Connection {
  readonly remote: HostPort
  readonly isEstablished: () => boolean
  /** The owner accepts the peer: what it sends is reported from now on. */
  readonly accept: () => void
  /** DER, the leaf first; empty where the peer presented none. */
  readonly peerCertificates: () => ReadonlyArray<Buffer>
  /** Whether the peer allows another bidirectional stream. */
  readonly mayOpenBidi: () => boolean
  /** Opens a stream. It counts as open when something has been written to it; the peer has to allow it by then. */
  readonly openBidi: (events: StreamEvents) => number
  readonly openUni: (events: StreamEvents) => number
  /**
   * Writes, and keeps what can't be sent yet; returns false if something waits, and `onDrain` follows then. The end of a stream
   * has to come with bytes, because alone it can be lost for ever.
   */
  readonly write: (id: number, bytes: Buffer, fin: boolean) => boolean
  /** Reads no more than so many bytes; without a number what there is room for. */
  readonly read: (id: number, maxBytes?: number) => Read | undefined
  /** Bytes of all streams that have come and were not read, or more: an upper bound. */
  readonly unread: () => number
  /** Bytes of all streams that were written and can't be sent yet. */
  readonly unsent: () => number
  /** Resets this side of a stream, behind what there is room to send. */
  readonly reset: (id: number, code: number) => void
  /** Asks the peer to reset its side of a stream (STOP_SENDING). */
  readonly stop: (id: number, code: number) => void
  /** Whether to look for STOP_SENDING on a stream to which nothing is being written. */
  readonly watch: (id: number, isWatched: boolean) => void
  /** Nothing more is wanted from a stream, nor written to it. What was written is still sent. */
  readonly release: (id: number) => void
  /** False where the datagram was dropped: too many wait, or it is too large. */
  readonly sendDatagram: (datagram: Buffer) => boolean
  /** Undefined where the peer takes none. */
  readonly maxDatagramSize: () => number | undefined
  /** Sends a ping if nothing has come from the peer for so many milliseconds. */
  readonly probe: (silence: number) => void
  /** Whether all that was written has arrived. */
  readonly isFlushed: () => boolean
  /** Ends the connection without waiting for anything. */
  readonly close: (isApplication: boolean, code: number, text: string) => void
}

/** A UDP socket that takes connections. */
export interface Listener {
  readonly local: HostPort
  /** Refuses further connections. */
  readonly refuse: () => void
  /** Closes the socket; whatever connections are left are closed before. */
  readonly close: () => Promise<void>
}

export interface QuicEngine {
  /** Throws where the engine can't use a certificate or its key. */
  readonly check: (tls: TlsSettings, settings: ConnectionSettings) => void
  /** A connection on a socket of its own, which is closed with it. */
  readonly connect: (options: ConnectOptions, events: (connection: Connection) => Events) => Connection
  /** Rejects with the error of the system. */
  readonly listen: (options: ListenOptions) => Promise<Listener>
}
