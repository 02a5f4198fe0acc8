/** The errors before there is a call: of listeners, handshakes, credentials and packages. `TransportError` exports them. */
import * as Schema from "effect/Schema"

/** What errors have in common. */
export const common = {
  message: Schema.String,
  /** The target or address of the other side, where known. */
  peer: Schema.optional(Schema.String),
  /** The path of the method, where a call was made. */
  method: Schema.optional(Schema.String),
  cause: Schema.optional(Schema.Defect)
}

/**
 * Why a listener could not start. `AdmissionRefused`: the wire can't do what the admission asks for.
 *
 * @since 0.1.0
 * @category models
 */
export const BindReason = Schema.Literal(
  "AddressInUse",
  "AccessDenied",
  "AddressNotAvailable",
  "InvalidAddress",
  "CredentialsRefused",
  "AdmissionRefused",
  "Unknown"
)

/**
 * @since 0.1.0
 * @category models
 */
export type BindReason = typeof BindReason.Type

/**
 * A listener could not start.
 *
 * @since 0.1.0
 * @category errors
 */
export class BindError extends Schema.TaggedError<BindError>("effect-transport/BindError")("BindError", {
  ...common,
  reason: BindReason,
  /** The address that was asked for. */
  address: Schema.String
}) {}

/**
 * Why two peers did not agree to talk.
 *
 * - `UntrustedIssuer`: the certificate does not chain up to a trusted CA.
 * - `Expired`, `NotYetValid`: outside its validity (`notAfter` says when it ended).
 * - `NameMismatch`: the certificate is for other names than `nameWanted`.
 * - `PinMismatch`: the certificate is none of those pinned.
 * - `Revoked`: on a certificate revocation list.
 * - `InvalidPurpose`: its extended key usage forbids this side of TLS.
 * - `BadCertificate`: unusable in another way.
 * - `CertificateRequired`: the peer wants a certificate and got none.
 * - `NotAuthorized`: the certificate is good, but its holder may not connect.
 * - `NoCommonProtocol`: no TLS version, cipher or ALPN protocol in common, or the peer does not speak TLS at all.
 * - `Refused`: the peer closed the connection during or right after the handshake without saying why.
 *
 * @since 0.1.0
 * @category models
 */
export const HandshakeReason = Schema.Literal(
  "UntrustedIssuer",
  "Expired",
  "NotYetValid",
  "NameMismatch",
  "PinMismatch",
  "Revoked",
  "InvalidPurpose",
  "BadCertificate",
  "CertificateRequired",
  "NotAuthorized",
  "NoCommonProtocol",
  "Refused"
)

/**
 * @since 0.1.0
 * @category models
 */
export type HandshakeReason = typeof HandshakeReason.Type

/**
 * The peer was reached and one side refused the other. Trying again does not help until a certificate, a pin or a
 * setting changes.
 *
 * @since 0.1.0
 * @category errors
 */
export class HandshakeFailed extends Schema.TaggedError<HandshakeFailed>("effect-transport/HandshakeFailed")(
  "HandshakeFailed",
  {
    ...common,
    reason: HandshakeReason,
    /** Which side refused: `local` is the one where this error was raised. */
    refusedBy: Schema.Literal("local", "remote"),
    /** SHA-256 of the certificate that was refused, lower case hex. */
    fingerprint: Schema.optional(Schema.String),
    /** When the refused certificate expires or expired. */
    notAfter: Schema.optional(Schema.DateFromSelf),
    /** The name that the certificate should have carried. */
    nameWanted: Schema.optional(Schema.String)
  }
) {}

/**
 * Why credentials could not be used.
 *
 * @since 0.1.0
 * @category models
 */
export const CredentialsReason = Schema.Literal(
  "NotFound",
  "AccessDenied",
  "Malformed",
  "WrongPassphrase",
  "KeyMismatch",
  "Expired",
  "NotYetValid",
  "Insecure"
)

/**
 * @since 0.1.0
 * @category models
 */
export type CredentialsReason = typeof CredentialsReason.Type

/**
 * Credentials that can't be used, found when their layer is built. `message` never holds key material.
 *
 * @since 0.1.0
 * @category errors
 */
export class CredentialsError extends Schema.TaggedError<CredentialsError>("effect-transport/CredentialsError")(
  "CredentialsError",
  {
    ...common,
    reason: CredentialsReason,
    /** Which part is meant: `cert`, `key`, `ca`, ... */
    part: Schema.String,
    /** The file, where the part came from one. */
    file: Schema.optional(Schema.String),
    /** When the certificate expired, for `Expired`. */
    notAfter: Schema.optional(Schema.DateFromSelf)
  }
) {}

/**
 * Why a package could not be used: it is not installed, or it has no binary for this platform.
 *
 * @since 0.1.0
 * @category models
 */
export const MissingReason = Schema.Literal("NotInstalled", "NoBinary")

/**
 * @since 0.1.0
 * @category models
 */
export type MissingReason = typeof MissingReason.Type

/**
 * An optional package is missing that a layer needs. Everything else works without it.
 *
 * @since 0.1.0
 * @category errors
 */
export class MissingPackage extends Schema.TaggedError<MissingPackage>("effect-transport/MissingPackage")(
  "MissingPackage",
  {
    message: Schema.String,
    /** The package to install. */
    package: Schema.String,
    reason: MissingReason,
    /** As `linux-x64`: operating system and processor. */
    platform: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @deprecated Use `package`. */
  get packageName(): string {
    return this.package
  }
}
