/**
 * The port to QUIC: what a transport needs of an engine, whatever library is behind it. Connections tell what happens by
 * callbacks, from within one turn of the event loop, and nothing here waits.
 */

import type { Admission } from "../../Handshake/Admission.js"

/** An IP address and a port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Hears of what was thrown behind a door, which has ended a connection, or a packet, and nothing else. */
export type OnThrown = (door: "packet" | "timer" | "engine", remote: HostPort, cause: unknown) => void

/** Certificates, as PEM. */
export interface TlsSettings {
  /** The only issuers that are trusted. */
  readonly ca: ReadonlyArray<string>
  readonly certificate: { readonly chain: string; readonly key: string } | undefined
  /**
   * Whether the engine verifies the peer's chain, and the name at a client. Without, it only sees to it that the peer has
   * the key of its certificate, if it shows one: whose it is is then for the caller to decide.
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
   * Unread bytes of all streams together, above which streams are broken off (`Events.onOverflow`). No flow control
   * holds the peer back before, and the engine may only know an upper bound.
   */
  readonly connectionWindow: number
  /** Unread bytes that the peer may send on one stream. */
  readonly streamWindow: number
  /** Streams that the peer may have open at a time. */
  readonly maxBidiStreams: number
  readonly maxUniStreams: number
  /** Datagrams that wait, in each direction; 0 for none at all. */
  readonly maxDatagrams: number
  /** How long the peer may be silent before it is asked whether it lives, and how long the answer may take then. */
  readonly keepaliveTime: number
  readonly keepaliveTimeout: number
  readonly handshakeTimeout: number
  /** Bytes that the peer may send before the handshake is over, in no more than one packet for each 512 of them. */
  readonly maxHandshakeBytes: number
  /** Packets that the peer may send in a second before it is cut off. */
  readonly maxPacketRate: number
  /** Packets without content in a second, beyond what use allows for, before the peer is cut off. */
  readonly maxIdlePacketRate: number
  /** Bytes of such packets, above which `onWorn` is called after a second; at four times as many the peer is cut off. */
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
  /** What the next connection uses. */
  readonly tls: () => TlsSettings
  readonly settings: ConnectionSettings
  /** Connections at a time whose handshake is over; further ones are refused. */
  readonly maxConnections: number
  /** Which handshakes may begin, and go on. */
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
  /** Nothing came any more, nobody listens there, or whoever does knows nothing of the connection. */
  | {
      readonly _tag: "Lost"
      readonly why: "Silent" | "Unreachable" | "Reset" | "HandshakeTimeout"
      readonly cause?: Error
    }

/** What a connection tells. */
export interface Events {
  /**
   * The handshake is over on this side. A client does not know yet whether the server accepted it. Nothing that the peer
   * sends is told before `accept`.
   */
  readonly onEstablished: () => void
  /** The peer has acknowledged what was sent behind the handshake, which it can't read before it accepts this end. */
  readonly onConfirmed: () => void
  /** The peer has opened a stream; gives what hears of it. */
  readonly onStream: (id: number) => StreamEvents
  /** A view, to be copied by who keeps it. */
  readonly onDatagram: (datagram: Buffer) => void
  /** Bytes that were read and are kept all the same: they count as unread too. Default none. */
  readonly kept?: (() => number) | undefined
  /** What came has been told, and what there is room for has been sent: `unread` and `unsent` may have changed. */
  readonly onTurn?: (() => void) | undefined
  /** More is unread than may be, some of it on this stream, which has to be broken off. */
  readonly onOverflow: (id: number) => void
  /** So much came that was no content that this connection should be replaced. Called once. */
  readonly onWorn?: (() => void) | undefined
  /** The peer allows further streams, after `mayOpenBidi` said no. */
  readonly onStreamsAvailable: () => void
  /** The last that is heard. */
  readonly onClosed: (close: Close) => void
}

/** What a stream tells. With its id, so that one may hear of many. */
export interface StreamEvents {
  /** There is something to read. Said again after everything that comes for as long as something is left. */
  readonly onReadable: (id: number) => void
  /** All that was written has been handed on, after `write` gave false. */
  readonly onDrain: (id: number) => void
  /** The peer reads no more (STOP_SENDING). The code is 0 where the engine has forgotten it. */
  readonly onStopped: (code: number, id: number) => void
}

/** What was read from a stream. */
export type Read =
  /** A view that is valid until the next read of any stream. */
  | { readonly _tag: "Bytes"; readonly bytes: Buffer; readonly fin: boolean }
  /** The peer has broken off (RESET_STREAM). */
  | { readonly _tag: "Reset"; readonly code: number }

export interface Connection {
  readonly remote: HostPort
  readonly isEstablished: () => boolean
  /** The peer is who it should be, for all that the engine could not know: hears what it says from now on. */
  readonly accept: () => void
  /** DER, the leaf first; empty where the peer has shown none. */
  readonly peerCertificates: () => ReadonlyArray<Buffer>
  /** Whether the peer allows another bidirectional stream. */
  readonly mayOpenBidi: () => boolean
  /** Opens a stream. It counts as open when something has been written to it; the peer has to allow it by then. */
  readonly openBidi: (events: StreamEvents) => number
  readonly openUni: (events: StreamEvents) => number
  /**
   * Writes, and keeps what can't be sent yet; false says that something waits, and that `onDrain` comes. The end of a stream
   * has to come with bytes: alone it can be lost for ever.
   */
  readonly write: (id: number, bytes: Buffer, fin: boolean) => boolean
  /** Reads no more than so many bytes; without a number what there is room for. */
  readonly read: (id: number, most?: number) => Read | undefined
  /** Bytes of all streams that have come and were not read, or more: an upper bound. */
  readonly unread: () => number
  /** Bytes of all streams that were written and can't be sent yet. */
  readonly unsent: () => number
  /** Breaks off this side of a stream, behind what there is room to send. */
  readonly reset: (id: number, code: number) => void
  /** Asks the peer to break off its side of a stream. */
  readonly stop: (id: number, code: number) => void
  /** Whether to look for STOP_SENDING on a stream to which nothing is being written. */
  readonly watch: (id: number, isWatched: boolean) => void
  /** Nothing more is wanted from a stream, nor written to it. What was written is still sent. */
  readonly release: (id: number) => void
  /** False where the datagram was dropped: too many wait, or it is too large. */
  readonly sendDatagram: (datagram: Buffer) => boolean
  /** Undefined where the peer takes none. */
  readonly maxDatagramSize: () => number | undefined
  /** Asks the peer whether it lives, where nothing has come from it for so many milliseconds. */
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
  /** A connection on a socket of its own, which lives as long. */
  readonly connect: (options: ConnectOptions, events: (connection: Connection) => Events) => Connection
  /** Rejects with the error of the system. */
  readonly listen: (options: ListenOptions) => Promise<Listener>
}
