/**
 * Maps the codes that Node reports to the reason why TLS failed: an alert of the peer, a certificate that this side has
 * rejected, or a peer that does not speak TLS.
 *
 * The spellings are those of Node 20 (OpenSSL 3.0) and Node 22 to 26 (OpenSSL 3.5), seen in real handshakes; they
 * differ, as `ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE` and `ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE`.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import { codeOf } from "../Credentials/internal/nodeError.js"
import type { HandshakeReason } from "../Transport/TransportError.js"

/**
 * The reason of a failed handshake, and the side that refused: `remote` has sent an alert, `local` has rejected the
 * peer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Refusal {
  readonly reason: HandshakeReason
  readonly refusedBy: "local" | "remote"
}

/**
 * Alerts by number, with OpenSSL's names. An alert that means "I don't understand you" is `NoCommonProtocol`; one that
 * tells no cause is `Refused`.
 *
 * Source: RFC 8446, section 6; RFC 5246, section 7.2 (41, 60, 100); RFC 6066, section 9 (111, 114).
 */
const alerts: ReadonlyArray<readonly [number: number, name: string, reason: HandshakeReason]> = [
  [0, "CLOSE_NOTIFY", "Refused"],
  [10, "UNEXPECTED_MESSAGE", "NoCommonProtocol"],
  [20, "BAD_RECORD_MAC", "Refused"],
  [22, "RECORD_OVERFLOW", "NoCommonProtocol"],
  [40, "HANDSHAKE_FAILURE", "NoCommonProtocol"],
  [41, "NO_CERTIFICATE", "CertificateRequired"],
  [42, "BAD_CERTIFICATE", "BadCertificate"],
  // OpenSSL and rustls send it for a certificate of the wrong extended key usage.
  [43, "UNSUPPORTED_CERTIFICATE", "InvalidPurpose"],
  [44, "CERTIFICATE_REVOKED", "Revoked"],
  [45, "CERTIFICATE_EXPIRED", "Expired"],
  [46, "CERTIFICATE_UNKNOWN", "BadCertificate"],
  [47, "ILLEGAL_PARAMETER", "NoCommonProtocol"],
  [48, "UNKNOWN_CA", "UntrustedIssuer"],
  [49, "ACCESS_DENIED", "NotAuthorized"],
  [50, "DECODE_ERROR", "NoCommonProtocol"],
  // A signature did not verify: to the peer, this side has a certificate without its key.
  [51, "DECRYPT_ERROR", "BadCertificate"],
  [60, "EXPORT_RESTRICTION", "NoCommonProtocol"],
  [70, "PROTOCOL_VERSION", "NoCommonProtocol"],
  [71, "INSUFFICIENT_SECURITY", "NoCommonProtocol"],
  [80, "INTERNAL_ERROR", "Refused"],
  [86, "INAPPROPRIATE_FALLBACK", "NoCommonProtocol"],
  [90, "USER_CANCELLED", "Refused"],
  [100, "NO_RENEGOTIATION", "Refused"],
  [109, "MISSING_EXTENSION", "NoCommonProtocol"],
  [110, "UNSUPPORTED_EXTENSION", "NoCommonProtocol"],
  [111, "CERTIFICATE_UNOBTAINABLE", "BadCertificate"],
  // The server has no certificate for the name that the client asked for.
  [112, "UNRECOGNIZED_NAME", "NameMismatch"],
  [113, "BAD_CERTIFICATE_STATUS_RESPONSE", "BadCertificate"],
  [114, "BAD_CERTIFICATE_HASH_VALUE", "BadCertificate"],
  [115, "UNKNOWN_PSK_IDENTITY", "Refused"],
  [116, "CERTIFICATE_REQUIRED", "CertificateRequired"],
  [120, "NO_APPLICATION_PROTOCOL", "NoCommonProtocol"]
]

const alertsByNumber = new Map(alerts.map(([number, , reason]) => [number, reason]))
const alertsByName = new Map(alerts.map(([, name, reason]) => [name, reason]))

/** Verification results by the names that Node gives them (`X509_V_ERR_*` of OpenSSL, and Node's own for names). */
const verifyCodes = new Map<string, HandshakeReason>([
  ["UNABLE_TO_GET_ISSUER_CERT", "UntrustedIssuer"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "UntrustedIssuer"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "UntrustedIssuer"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "UntrustedIssuer"],
  ["SELF_SIGNED_CERT_IN_CHAIN", "UntrustedIssuer"],
  ["CERT_UNTRUSTED", "UntrustedIssuer"],
  ["CERT_REJECTED", "UntrustedIssuer"],
  ["CERT_SIGNATURE_FAILURE", "UntrustedIssuer"],
  ["CERT_CHAIN_TOO_LONG", "UntrustedIssuer"],
  ["PATH_LENGTH_EXCEEDED", "UntrustedIssuer"],
  ["INVALID_CA", "UntrustedIssuer"],
  ["CERT_HAS_EXPIRED", "Expired"],
  ["CERT_NOT_YET_VALID", "NotYetValid"],
  ["CERT_REVOKED", "Revoked"],
  ["INVALID_PURPOSE", "InvalidPurpose"],
  ["HOSTNAME_MISMATCH", "NameMismatch"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "NameMismatch"],
  ["ERR_TLS_CERT_ALTNAME_FORMAT", "BadCertificate"],
  ["UNABLE_TO_DECRYPT_CERT_SIGNATURE", "BadCertificate"],
  ["UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY", "BadCertificate"],
  ["ERROR_IN_CERT_NOT_BEFORE_FIELD", "BadCertificate"],
  ["ERROR_IN_CERT_NOT_AFTER_FIELD", "BadCertificate"],
  // Without a current list nothing is known: the peer is refused, but not as revoked.
  ["UNABLE_TO_GET_CRL", "BadCertificate"],
  ["UNABLE_TO_DECRYPT_CRL_SIGNATURE", "BadCertificate"],
  ["CRL_SIGNATURE_FAILURE", "BadCertificate"],
  ["CRL_NOT_YET_VALID", "BadCertificate"],
  ["CRL_HAS_EXPIRED", "BadCertificate"],
  ["ERROR_IN_CRL_LAST_UPDATE_FIELD", "BadCertificate"],
  ["ERROR_IN_CRL_NEXT_UPDATE_FIELD", "BadCertificate"],
  ["OUT_OF_MEM", "BadCertificate"],
  ["UNSPECIFIED", "BadCertificate"]
])

/** Codes of this side with a reason of their own; every other `ERR_SSL_*` is `NoCommonProtocol`. */
const localCodes = new Map<string, Refusal>([
  ["ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", { reason: "CertificateRequired", refusedBy: "local" }],
  ["ERR_SSL_CERTIFICATE_VERIFY_FAILED", { reason: "BadCertificate", refusedBy: "local" }],
  ["ERR_SSL_BAD_SIGNATURE", { reason: "BadCertificate", refusedBy: "local" }],
  ["ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC", { reason: "Refused", refusedBy: "local" }],
  ["ERR_SSL_DIGEST_CHECK_FAILED", { reason: "Refused", refusedBy: "local" }],
  ["ERR_SSL_UNEXPECTED_EOF_WHILE_READING", { reason: "Refused", refusedBy: "remote" }],
  ["ERR_TLS_HANDSHAKE_TIMEOUT", { reason: "Refused", refusedBy: "local" }]
])

/** Alerts 110 to 115 come without `ALERT_`. */
const alertCode = /^ERR_SSL_(?:SSLV3|TLSV1|TLSV13|SSL\/TLS)_(ALERT_)?([A-Z_]+)$/

/**
 * The reason that an alert gives. A number that no RFC names is `Refused`.
 *
 * @since 0.1.0
 * @category mapping
 */
export const fromAlert = (number: number): HandshakeReason => alertsByNumber.get(number) ?? "Refused"

/**
 * The reason behind `authorizationError` of a TLS socket. An unknown code is `BadCertificate`: the certificate was
 * rejected, whatever the cause.
 *
 * @since 0.1.0
 * @category mapping
 */
export const fromVerifyCode = (code: string): HandshakeReason => verifyCodes.get(code) ?? "BadCertificate"

/**
 * The refusal behind the `code` of an error of a TLS socket; none for codes that are not about TLS, such as
 * `ECONNRESET`.
 *
 * @since 0.1.0
 * @category mapping
 */
export const fromCode = (code: string): Option.Option<Refusal> => {
  const [, infix, name = ""] = alertCode.exec(code) ?? []
  if (infix !== undefined || alertsByName.has(name)) {
    return Option.some({ reason: alertsByName.get(name) ?? "Refused", refusedBy: "remote" })
  }
  const reason = verifyCodes.get(code)
  if (reason !== undefined) {
    return Option.some({ reason, refusedBy: "local" })
  }
  return Option.fromNullable(localCodes.get(code)).pipe(
    Option.orElse(() =>
      code.startsWith("ERR_SSL_")
        ? Option.some<Refusal>({ reason: "NoCommonProtocol", refusedBy: "local" })
        : Option.none()
    )
  )
}

/** Alerts of a peer that could not read what it has received. */
const unreadable = new Set([
  "UNEXPECTED_MESSAGE",
  "BAD_RECORD_MAC",
  "RECORD_OVERFLOW",
  "ILLEGAL_PARAMETER",
  "DECODE_ERROR",
  "DECRYPTION_FAILED"
])

/** Codes that blame the peer itself, at any time of the handshake. */
const ofThePeer =
  /^ERR_SSL_(PEER_DID_NOT_RETURN_A_CERTIFICATE|CERTIFICATE_VERIFY_FAILED|BAD_SIGNATURE|UNEXPECTED_EOF_WHILE_READING|.*(TOO_SMALL|TOO_WEAK|LEGACY).*)$/

/** Codes for the first bytes of a peer that speaks another protocol or another version of TLS. */
const ofAnother =
  /^ERR_SSL_(WRONG_VERSION_NUMBER|WRONG_SSL_VERSION|PACKET_LENGTH_TOO_LONG|UNEXPECTED_MESSAGE|HTTPS?_.*REQUEST|UNKNOWN_PROTOCOL|UNSUPPORTED_PROTOCOL|VERSION_TOO_.*|NO_.*)$/

/**
 * Whether the code of an error of a TLS socket says that bytes were changed on their way, which need not happen to
 * another connection, rather than that one side has refused the other. `isAgreed`: the two had already agreed on a
 * cipher.
 *
 * @since 0.1.0
 * @category refinements
 */
export const isDamage = (code: string, isAgreed: boolean): boolean => {
  const refusal = fromCode(code)
  if (Option.isNone(refusal) || !code.startsWith("ERR_SSL_")) {
    return false
  }
  return refusal.value.refusedBy === "remote"
    ? unreadable.has(alertCode.exec(code)?.[2] ?? "")
    : !ofThePeer.test(code) && (isAgreed || !ofAnother.test(code))
}

/**
 * The refusal behind an error of a TLS socket, as `fromCode`.
 *
 * @since 0.1.0
 * @category mapping
 */
export const fromError = (error: unknown): Option.Option<Refusal> => fromCode(codeOf(error))
