/**
 * The one file that knows `@infisical/quic`, of which only the native `Connection` is used: a state machine without
 * sockets, clocks and threads (quiche 0.18.0).
 */
import { createHmac, randomBytes } from "node:crypto"
import type { native as Native } from "@infisical/quic"
import type { ConnectionSettings, HostPort, TlsSettings } from "./QuicEngine.js"

export const packageName = "@infisical/quic"

/** What is loaded: the functions of the library. */
export type Quiche = typeof Native.quiche

export type State = ReturnType<Quiche["Connection"]["connect"]>

/** Loads the library; rejects where it is not installed, or has no binary for this platform. */
export const load = async (): Promise<Quiche> => {
  const library: { readonly native?: typeof Native; readonly default?: { readonly native: typeof Native } } =
    await import(packageName)
  const native = library.native ?? library.default?.native
  if (native === undefined) {
    throw new Error(`${packageName} has no native part`)
  }
  return native.quiche
}

/**
 * Connection ids of this side are of one length, so that packets can be told apart without a state. Not longer: quiche
 * has 128 bytes for all transport parameters, of which three ids and the reset token are the most.
 */
export const idLength = 8

export const newId = (): Buffer => randomBytes(idLength)

/** The token that tells a peer that this side has lost its state of a connection (RFC 9000, section 10.3). */
export const resetToken = (key: Buffer, id: Uint8Array): Buffer =>
  createHmac("sha256", key).update(id).digest().subarray(0, 16)

/**
 * The names of BoringSSL. Ed25519 is not among its defaults; PKCS#1 v1.5 is there for the signatures in certificates of
 * older CAs, which TLS 1.3 allows.
 */
const signatures = [
  "ECDSA+SHA256",
  "ed25519",
  "RSA-PSS+SHA256",
  "ECDSA+SHA384",
  "RSA-PSS+SHA384",
  "ECDSA+SHA512",
  "RSA-PSS+SHA512",
  "RSA+SHA256",
  "RSA+SHA384",
  "RSA+SHA512"
].join(":")

const pem = (text: string): Uint8Array => Buffer.from(text)

/** The largest integer in four bytes: larger ones, and the longest ids, would not fit into quiche's transport parameters. */
const maxParameter = 2 ** 30 - 1

/** The configuration of one connection. Throws where BoringSSL does not take a key. */
export const configOf = (quiche: Quiche, tls: TlsSettings, settings: ConnectionSettings, token?: Buffer) => {
  const { certificate } = tls
  const config = quiche.Config.withBoringSslCtx(
    tls.asksCertificate,
    !tls.verifyChain,
    tls.ca.length === 0 ? null : pem(tls.ca.join("\n")),
    certificate === undefined ? null : [pem(certificate.key)],
    certificate === undefined ? null : [pem(certificate.chain)],
    signatures
  )
  config.setApplicationProtos([settings.alpnProtocol])
  // The driver asks before that; it is here for the day that it can't. 0 is for none.
  const idleTimeout = settings.keepaliveTime + settings.keepaliveTimeout + 1000
  config.setMaxIdleTimeout(idleTimeout > maxParameter ? 0 : idleTimeout)
  config.setMaxSendUdpPayloadSize(settings.maxUdpPayload)
  config.setMaxRecvUdpPayloadSize(quiche.MAX_UDP_PACKET_SIZE)
  // quiche gives no credit back for what it drops of a stream that is reset or stopped: with any window of the connection,
  // as many bytes of calls that were given up end it for ever. `connectionWindow` is held by the driver.
  config.setInitialMaxData(Number.MAX_SAFE_INTEGER)
  const streamWindow = Math.min(settings.streamWindow, maxParameter)
  config.setInitialMaxStreamDataBidiLocal(streamWindow)
  config.setInitialMaxStreamDataBidiRemote(streamWindow)
  config.setInitialMaxStreamDataUni(streamWindow)
  config.setMaxStreamWindow(streamWindow)
  config.setInitialMaxStreamsBidi(Math.min(settings.maxBidiStreams, maxParameter))
  config.setInitialMaxStreamsUni(settings.maxUniStreams)
  config.setDisableActiveMigration(true)
  config.enablePacing(false)
  // Without pacing, for which Node's timers are too coarse, quiche's CUBIC takes packets for older than they are once its
  // window is small: with loss, its estimate of the round trip grows without end, and the connection stands still.
  config.setCcAlgorithm(quiche.CongestionControlAlgorithm.BBR)
  config.enableDgram(settings.maxDatagrams > 0, settings.maxDatagrams, settings.maxDatagrams)
  if (token !== undefined) {
    config.setStatelessResetToken(BigInt(`0x${token.toString("hex")}`))
  }
  return config
}

export interface Paths {
  readonly local: HostPort
  readonly remote: HostPort
}

/**
 * Bytes of certificates that a client may present. A listener of quiche sends a session ticket, with the client's chain in
 * it, and a client of quiche takes messages of up to 16 KiB after the handshake: with more it would end right behind that.
 */
const maxClientChainBytes = 15_000

const chainBytes = (pems: string): number =>
  Array.from(
    pems.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)/g),
    ([, text = ""]) => Buffer.from(text, "base64").length
  ).reduce((sum, each) => sum + each, 0)

/** The engine knows no zones (RFC 4007): they are the socket's. */
export const unzoned = ({ host, port }: HostPort): HostPort => ({ host: host.replace(/%.*$/, ""), port })

export const connect = (
  quiche: Quiche,
  serverName: string | undefined,
  { local, remote }: Paths,
  tls: TlsSettings,
  settings: ConnectionSettings
): State => {
  if (chainBytes(tls.certificate?.chain ?? "") > maxClientChainBytes) {
    throw new Error(`a client's certificates may have ${maxClientChainBytes} bytes together`)
  }
  return quiche.Connection.connect(
    serverName ?? null,
    newId(),
    unzoned(local),
    unzoned(remote),
    configOf(quiche, tls, settings)
  )
}

/** The server's state for a client that has sent the token of a Retry back. */
export const accept = (
  quiche: Quiche,
  ids: { readonly id: Uint8Array; readonly original: Uint8Array; readonly resetToken: Buffer },
  { local, remote }: Paths,
  tls: TlsSettings,
  settings: ConnectionSettings
): State =>
  quiche.Connection.accept(
    ids.id,
    ids.original,
    unzoned(local),
    unzoned(remote),
    configOf(quiche, tls, settings, ids.resetToken)
  )
