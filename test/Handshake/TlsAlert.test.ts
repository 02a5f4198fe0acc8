import * as tls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { codeOf } from "../../src/Credentials/internal/nodeError.js"
import * as TlsAlert from "../../src/Handshake/TlsAlert.js"
import { HandshakeReason } from "../../src/Transport/TransportError.js"
import { listen } from "../fixtures/tls.js"

/** The alerts of RFC 8446 section 6 and those before it, with their names there. */
const alerts: ReadonlyArray<readonly [number, string, HandshakeReason]> = [
  [10, "unexpected_message", "NoCommonProtocol"],
  [20, "bad_record_mac", "Refused"],
  [22, "record_overflow", "NoCommonProtocol"],
  [40, "handshake_failure", "NoCommonProtocol"],
  [41, "no_certificate", "CertificateRequired"],
  [42, "bad_certificate", "BadCertificate"],
  [43, "unsupported_certificate", "InvalidPurpose"],
  [44, "certificate_revoked", "Revoked"],
  [45, "certificate_expired", "Expired"],
  [46, "certificate_unknown", "BadCertificate"],
  [47, "illegal_parameter", "NoCommonProtocol"],
  [48, "unknown_ca", "UntrustedIssuer"],
  [49, "access_denied", "NotAuthorized"],
  [50, "decode_error", "NoCommonProtocol"],
  [51, "decrypt_error", "BadCertificate"],
  [60, "export_restriction", "NoCommonProtocol"],
  [70, "protocol_version", "NoCommonProtocol"],
  [71, "insufficient_security", "NoCommonProtocol"],
  [80, "internal_error", "Refused"],
  [86, "inappropriate_fallback", "NoCommonProtocol"],
  [90, "user_canceled", "Refused"],
  [100, "no_renegotiation", "Refused"],
  [109, "missing_extension", "NoCommonProtocol"],
  [110, "unsupported_extension", "NoCommonProtocol"],
  [111, "certificate_unobtainable", "BadCertificate"],
  [112, "unrecognized_name", "NameMismatch"],
  [113, "bad_certificate_status_response", "BadCertificate"],
  [114, "bad_certificate_hash_value", "BadCertificate"],
  [115, "unknown_psk_identity", "Refused"],
  [116, "certificate_required", "CertificateRequired"],
  [120, "no_application_protocol", "NoCommonProtocol"]
]

const remote = (reason: HandshakeReason) => Option.some({ reason, refusedBy: "remote" })
const local = (reason: HandshakeReason) => Option.some({ reason, refusedBy: "local" })

describe("TlsAlert", () => {
  it.each(alerts)("alert %i, %s", (number, _, reason) => {
    expect(TlsAlert.fromAlert(number)).toBe(reason)
  })

  it.scopedLive.each(alerts)("alert %i, %s, as this Node reports it", ([number, _, reason]) =>
    Effect.gen(function* () {
      // A server whose only answer is the fatal alert.
      const { port } = yield* listen((socket) => {
        socket.once("data", () => socket.end(Buffer.from([0x15, 3, 3, 0, 2, 2, number])))
      })
      const error = yield* Effect.async<Error>((resume) => {
        const socket = tls.connect({ port, host: "127.0.0.1" })
        socket.once("error", (error) => resume(Effect.succeed(error)))
      })
      expect([codeOf(error), TlsAlert.fromError(error)]).toEqual([codeOf(error), remote(reason)])
    })
  )

  it.each(["ERR_SSL_SSLV3_ALERT_", "ERR_SSL_TLSV1_ALERT_", "ERR_SSL_TLSV13_ALERT_", "ERR_SSL_SSL/TLS_ALERT_"])(
    "%s...",
    (prefix) => {
      expect(TlsAlert.fromCode(`${prefix}UNKNOWN_CA`)).toEqual(remote("UntrustedIssuer"))
      expect(TlsAlert.fromCode(`${prefix}CERTIFICATE_REQUIRED`)).toEqual(remote("CertificateRequired"))
      expect(TlsAlert.fromCode(`${prefix}USER_CANCELLED`)).toEqual(remote("Refused"))
      expect(TlsAlert.fromCode(`${prefix}OF_THE_FUTURE`)).toEqual(remote("Refused"))
    }
  )

  it("an alert that nobody knows says nothing", () => {
    expect(TlsAlert.fromAlert(0)).toBe("Refused")
    expect(TlsAlert.fromAlert(200)).toBe("Refused")
  })

  const verifyCodes: ReadonlyArray<readonly [string, HandshakeReason]> = [
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
    ["UNABLE_TO_GET_CRL", "BadCertificate"],
    ["CRL_HAS_EXPIRED", "BadCertificate"],
    ["UNSPECIFIED", "BadCertificate"]
  ]
  it.each(verifyCodes)("verification: %s", (code, reason) => {
    expect(TlsAlert.fromVerifyCode(code)).toBe(reason)
    expect(TlsAlert.fromCode(code)).toEqual(local(reason))
  })

  it("a verification code that nobody knows is a refusal all the same", () => {
    expect(TlsAlert.fromVerifyCode("CERT_OF_THE_FUTURE")).toBe("BadCertificate")
    expect(TlsAlert.fromVerifyCode("")).toBe("BadCertificate")
  })

  const localCodes: ReadonlyArray<readonly [string, HandshakeReason]> = [
    ["ERR_SSL_WRONG_VERSION_NUMBER", "NoCommonProtocol"],
    ["ERR_SSL_HTTP_REQUEST", "NoCommonProtocol"],
    ["ERR_SSL_UNSUPPORTED_PROTOCOL", "NoCommonProtocol"],
    ["ERR_SSL_NO_PROTOCOLS_AVAILABLE", "NoCommonProtocol"],
    ["ERR_SSL_NO_SHARED_CIPHER", "NoCommonProtocol"],
    ["ERR_SSL_NO_APPLICATION_PROTOCOL", "NoCommonProtocol"],
    ["ERR_SSL_UNEXPECTED_MESSAGE", "NoCommonProtocol"],
    ["ERR_SSL_UNKNOWN_ALERT_TYPE", "NoCommonProtocol"],
    ["ERR_SSL_TLSV1_OF_THE_FUTURE", "NoCommonProtocol"],
    ["ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE", "CertificateRequired"],
    ["ERR_SSL_CERTIFICATE_VERIFY_FAILED", "BadCertificate"],
    ["ERR_SSL_BAD_SIGNATURE", "BadCertificate"],
    ["ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "Refused"],
    ["ERR_TLS_HANDSHAKE_TIMEOUT", "Refused"]
  ]
  it.each(localCodes)("%s", (code, reason) => {
    expect(TlsAlert.fromCode(code)).toEqual(local(reason))
  })

  it.each(["", "ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOENT", "toString"])("nothing for %j", (code) => {
    expect(TlsAlert.fromCode(code)).toEqual(Option.none())
  })

  it("takes any value for an error", () => {
    for (const value of [undefined, null, "x", 7, {}, { code: 7 }, new Error("x")]) {
      expect(TlsAlert.fromError(value)).toEqual(Option.none())
    }
    expect(TlsAlert.fromError(Object.assign(new Error("x"), { code: "CERT_REVOKED" }))).toEqual(local("Revoked"))
  })

  it("knows only reasons that HandshakeFailed knows", () => {
    const reasons = new Set<string>(HandshakeReason.literals)
    for (const [number] of alerts) {
      expect(reasons.has(TlsAlert.fromAlert(number))).toBe(true)
    }
  })
})
