/** What to do about each error of the library. */
import type { TransportError } from "effect-transport"

type HandshakeFailed = TransportError.HandshakeFailed

/** Where the peer refused us. */
const refusedThere: { readonly [reason in HandshakeFailed["reason"]]: string } = {
  UntrustedIssuer: "have your certificate issued by a CA that the peer trusts",
  Expired: "issue a new certificate: effect-transport certs issue",
  NotYetValid: "wait until your certificate is valid, or set the clocks right",
  NameMismatch: "issue a certificate with the name that the peer wants",
  PinMismatch: "have the peer pin your certificate: effect-transport certs pin shows the pin",
  Revoked: "your certificate is on the peer's revocation list: issue a new one",
  InvalidPurpose: "issue a certificate for the client side of TLS: effect-transport certs issue --usage client",
  BadCertificate: "look at your certificate with effect-transport certs check",
  CertificateRequired: "give --cert and --key (or --p12): the peer wants to know who you are",
  NotAuthorized: "the peer knows you and does not let you in: have your name added to its authorizer",
  NoCommonProtocol: "check --wire and the port: the peer does not speak what was asked",
  Refused: "check --wire and the port, and the peer's log"
}

/** Where we refused the peer. */
const refusedHere: { readonly [reason in HandshakeFailed["reason"]]: string } = {
  UntrustedIssuer: "give the CA that issued the peer's certificate with --ca",
  Expired: "the peer has to renew its certificate",
  NotYetValid: "set the clocks right, or wait until the peer's certificate is valid",
  NameMismatch: "call the peer by a name in its certificate, or give that name with --server-name",
  PinMismatch: "if the peer has a new certificate on purpose, give its pin with --pin",
  Revoked: "the peer's certificate is on the revocation list: it needs a new one",
  InvalidPurpose: "the peer needs a certificate for the server side of TLS",
  BadCertificate: "look at the peer's certificate with effect-transport certs check",
  CertificateRequired: "the peer needs a certificate",
  NotAuthorized: "the peer's trust domain is bound to another CA",
  NoCommonProtocol: "check --wire and the port: the peer does not speak what was asked",
  Refused: "check --wire and the port, and the peer's log"
}

export const ofHandshake = ({ reason, refusedBy }: HandshakeFailed): string =>
  (refusedBy === "remote" ? refusedThere : refusedHere)[reason]

const statusHints: { readonly [tag in TransportError.StatusError["_tag"]]: string } = {
  Cancelled: "the peer has cancelled the call: look at its log",
  Unknown: "look at the peer's log",
  InvalidArgument: "check the target and the request",
  DeadlineExceeded: "give a longer --timeout, or look why the peer is slow",
  NotFound: "check what the request names",
  AlreadyExists: "check what the request names",
  PermissionDenied: "the peer knows you and does not allow this",
  ResourceExhausted: "send less, or less often",
  FailedPrecondition: "bring the peer into the state that the call needs",
  Aborted: "try again",
  OutOfRange: "ask for less",
  Unimplemented: "check the name of the service and method, and that the peer serves it",
  Internal: "look at the peer's log",
  Unavailable: "check the target, --wire, and that the node runs",
  DataLoss: "look at the peer's log",
  Unauthenticated: "the peer wants a token: give it with -H 'authorization: Bearer ...'"
}

export const ofStatus = ({ _tag }: TransportError.StatusError): string => statusHints[_tag]

const options: { readonly [part: string]: string } = { pfx: "p12", pins: "pin" }

export const ofCredentials = ({ file, part, reason }: TransportError.CredentialsError): string => {
  const option = `--${options[part] ?? part}`
  switch (reason) {
    case "NotFound":
      return `check the path that ${option} gives`
    case "AccessDenied":
      return "give yourself the right to read it, or run as its owner"
    case "Malformed":
      return part === "pins" && file === undefined
        ? "effect-transport certs pin prints the pins of a certificate"
        : `give ${option} a file of the right kind; effect-transport certs show tells what is in a file`
    case "WrongPassphrase":
      return "give the right passphrase with --passphrase-file"
    case "KeyMismatch":
      return "give --cert and --key that belong together"
    case "Expired":
      return "issue a new certificate: effect-transport certs issue"
    case "NotYetValid":
      return "wait until the certificate is valid, or set the clock right"
    case "Insecure":
      return "use --wire grpc with --insecure, or give credentials"
  }
}

export const ofBind = ({ reason }: TransportError.BindError): string => {
  switch (reason) {
    case "AddressInUse":
      return "stop what listens there, or take another port; 0 lets the system choose"
    case "AccessDenied":
      return "take a port above 1023, or run as a user who may"
    case "AddressNotAvailable":
      return "give --host an address of this machine"
    case "InvalidAddress":
      return "give --host an address of this machine, and --port a number from 0 to 65535"
    case "CredentialsRefused":
      return "give --cert and --key, or --p12; effect-transport certs issue makes them"
    case "AdmissionRefused":
      return "change what the admission says of sources, or take another --wire"
    case "Unknown":
      return "look at the system's log"
  }
}

export const ofPackage = (missing: TransportError.MissingPackage): string =>
  missing.reason === "NotInstalled"
    ? `npm install ${missing.package}, or use another --wire`
    : `there is no binary for ${missing.platform}: use another --wire`
