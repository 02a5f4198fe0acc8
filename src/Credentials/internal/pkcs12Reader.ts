/**
 * The structure of PKCS#12 (RFC 7292) and of encrypted private keys (RFC 5958) as typed records. Nothing is decrypted
 * or derived here. Functions throw `Pkcs12Problem`, or `NotBer` for what is no such file at all.
 */
import { getCipherInfo } from "node:crypto"
import * as Ber from "./ber.js"
import { type Meter, malformed } from "./pkcs12Budget.js"
import type { Hash } from "./pkcs12Kdf.js"

const oids = {
  data: "1.2.840.113549.1.7.1",
  encryptedData: "1.2.840.113549.1.7.6",
  keyBag: "1.2.840.113549.1.12.10.1.1",
  shroudedKeyBag: "1.2.840.113549.1.12.10.1.2",
  certBag: "1.2.840.113549.1.12.10.1.3",
  safeContentsBag: "1.2.840.113549.1.12.10.1.6",
  x509Certificate: "1.2.840.113549.1.9.22.1",
  pbes2: "1.2.840.113549.1.5.13",
  pbkdf2: "1.2.840.113549.1.5.12",
  scrypt: "1.3.6.1.4.1.11591.4.11",
  desCbc: "1.3.14.3.2.7",
  pbmac1: "1.2.840.113549.1.5.14"
}

/** HMAC by these hashes (RFC 8018, appendix B.1). */
const hmacs = new Map<string, Hash>([
  ["1.2.840.113549.2.7", "sha1"],
  ["1.2.840.113549.2.8", "sha224"],
  ["1.2.840.113549.2.9", "sha256"],
  ["1.2.840.113549.2.10", "sha384"],
  ["1.2.840.113549.2.11", "sha512"]
])

/** The hashes of the older MAC (RFC 7292, appendix B). */
const digests = new Map<string, Hash>([
  ["1.3.14.3.2.26", "sha1"],
  ["2.16.840.1.101.3.4.2.4", "sha224"],
  ["2.16.840.1.101.3.4.2.1", "sha256"],
  ["2.16.840.1.101.3.4.2.2", "sha384"],
  ["2.16.840.1.101.3.4.2.3", "sha512"]
])

/** The ciphers of PKCS#12 itself (RFC 7292, appendix C): 3DES with three and two keys, RC2 with 128 and 40 bits. */
const pkcs12Ciphers = new Map<string, Pick<Pkcs12Encryption, "cipher" | "keyBytes">>([
  ["1.2.840.113549.1.12.1.3", { cipher: "3des", keyBytes: 24 }],
  ["1.2.840.113549.1.12.1.4", { cipher: "3des", keyBytes: 16 }],
  ["1.2.840.113549.1.12.1.5", { cipher: "rc2", keyBytes: 16 }],
  ["1.2.840.113549.1.12.1.6", { cipher: "rc2", keyBytes: 5 }]
])

/** The key of a PBMAC1 in bytes: RFC 9579, section 9, advises against shorter ones, and nobody writes longer ones. */
const macKeyBytes = { min: 20, max: 1024 }

/** PBKDF2 (RFC 8018, section 5.2). */
export interface Pbkdf2 {
  readonly _tag: "Pbkdf2"
  readonly salt: Buffer
  readonly iterations: number
  readonly hash: Hash
}

/** scrypt (RFC 7914). */
export interface Scrypt {
  readonly _tag: "Scrypt"
  readonly salt: Buffer
  readonly N: number
  readonly r: number
  readonly p: number
}

/** PBES2 (RFC 8018): a cipher of OpenSSL, or the DES that OpenSSL has given up. */
export interface Pbes2Encryption {
  readonly _tag: "Pbes2"
  readonly derivation: Pbkdf2 | Scrypt
  readonly cipher: string
  readonly keyBytes: number
  readonly iv: Buffer
}

/** The encryption of PKCS#12 itself. */
export interface Pkcs12Encryption {
  readonly _tag: "Pkcs12"
  readonly cipher: "3des" | "rc2"
  readonly keyBytes: number
  readonly salt: Buffer
  readonly iterations: number
}

/** How something was encrypted. */
export type Encryption = Pbes2Encryption | Pkcs12Encryption

/** What was encrypted by a passphrase. */
export interface Encrypted {
  readonly encryption: Encryption
  readonly bytes: Buffer
}

/** A MAC over the contents of a file. */
export type Mac =
  | {
      readonly _tag: "Pbmac1"
      readonly derivation: Pbkdf2
      readonly keyBytes: number
      readonly hash: Hash
      readonly digest: Buffer
    }
  | {
      readonly _tag: "Pkcs12"
      readonly salt: Buffer
      readonly iterations: number
      readonly hash: Hash
      readonly digest: Buffer
    }

/** A file before anything in it is decrypted. */
export interface Pfx {
  /** The parts, as BER. */
  readonly contents: Buffer
  readonly mac: Mac | undefined
}

/** Bags as BER, in the clear or not. */
export type Part =
  | { readonly _tag: "Plain"; readonly bags: Buffer }
  | { readonly _tag: "Encrypted"; readonly bags: Encrypted }

/** What is of use in a bag. */
export type Bag =
  /** PKCS#8 as DER. */
  | { readonly _tag: "Key"; readonly der: Buffer }
  | { readonly _tag: "EncryptedKey"; readonly key: Encrypted }
  /** DER. */
  | { readonly _tag: "Certificate"; readonly der: Buffer }

/** The ASN.1 of a file, of a part or of what was decrypted. */
export const parse = (bytes: Uint8Array, meter: Meter): Ber.Element =>
  Ber.read(bytes, { maxDepth: meter.budget.maxDepth, onElement: meter.element })

const unknown = () => malformed("is encrypted with a cipher or hash that is not known")

const integer = (element: Ber.Element | undefined, what: string): number => {
  const value = Ber.integerOf(element)
  if (value === undefined) {
    throw malformed(`has a ${what} that can't be`)
  }
  return value
}

const iterationsIn = (element: Ber.Element | undefined) => integer(element, "count of iterations")

/** A ContentInfo: its kind, and the value in its explicit tag. */
const contentOf = (element: Ber.Element): readonly [kind: string, content: Ber.Element | undefined] => {
  const [kind, tagged] = Ber.childrenOf(element)
  return [Ber.oidOf(kind), tagged === undefined ? undefined : Ber.childrenOf(tagged)[0]]
}

const readPbkdf2 = (settings: Ber.Element | undefined): Pbkdf2 => {
  const [salt, count, ...more] = Ber.childrenOf(settings)
  const prf = more.find(({ tag }) => tag === Ber.tags.sequence)
  const hash = prf === undefined ? "sha1" : hmacs.get(Ber.oidOf(Ber.childrenOf(prf)[0]))
  if (hash === undefined || !Ber.isOctetString(salt)) {
    throw unknown()
  }
  return { _tag: "Pbkdf2", salt: Ber.octetsOf(salt), iterations: iterationsIn(count), hash }
}

const readScrypt = (settings: Ber.Element | undefined): Scrypt => {
  const [salt, cost, blockSize, parallelization] = Ber.childrenOf(settings)
  const N = integer(cost, "cost")
  const r = integer(blockSize, "block size")
  const p = integer(parallelization, "parallelization")
  if (!Ber.isOctetString(salt) || N < 2 || !Number.isInteger(Math.log2(N)) || r < 1 || p < 1) {
    throw malformed("has settings of scrypt that can't be")
  }
  return { _tag: "Scrypt", salt: Ber.octetsOf(salt), N, r, p }
}

const readDerivation = (element: Ber.Element | undefined): Pbkdf2 | Scrypt => {
  const [kind, settings] = Ber.childrenOf(element)
  switch (Ber.oidOf(kind)) {
    case oids.pbkdf2:
      return readPbkdf2(settings)
    case oids.scrypt:
      return readScrypt(settings)
    default:
      throw malformed("is encrypted with a key derivation that is not known")
  }
}

const readPbes2 = (parameters: Ber.Element | undefined): Pbes2Encryption => {
  const [derivation, scheme] = Ber.childrenOf(parameters)
  const [cipher, iv] = Ber.childrenOf(scheme)
  const oid = Ber.oidOf(cipher)
  const info = oid === oids.desCbc ? { name: "des-cbc", keyLength: 8, mode: "cbc" } : getCipherInfo(oid)
  if (info?.mode !== "cbc") {
    throw unknown()
  }
  return {
    _tag: "Pbes2",
    derivation: readDerivation(derivation),
    cipher: info.name,
    keyBytes: info.keyLength,
    iv: Ber.octetsOf(iv)
  }
}

const readEncryption = (algorithm: Ber.Element | undefined): Encryption => {
  const [kind, parameters] = Ber.childrenOf(algorithm)
  const name = Ber.oidOf(kind)
  if (name === oids.pbes2) {
    return readPbes2(parameters)
  }
  const known = pkcs12Ciphers.get(name)
  if (known === undefined) {
    throw malformed(`is encrypted with ${name}, which is not known`)
  }
  const [salt, count] = Ber.childrenOf(parameters)
  return { _tag: "Pkcs12", ...known, salt: Ber.octetsOf(salt), iterations: iterationsIn(count) }
}

const readEncrypted = (algorithm: Ber.Element | undefined, encrypted: Ber.Element | undefined): Encrypted => ({
  encryption: readEncryption(algorithm),
  bytes: Ber.octetsOf(encrypted)
})

const readHmac = (algorithm: Ber.Element | undefined): Hash => {
  const name = Ber.oidOf(Ber.childrenOf(algorithm)[0])
  const hash = hmacs.get(name)
  if (hash === undefined) {
    throw malformed(`has a MAC by ${name}, which is not known`)
  }
  return hash
}

/** PBMAC1 by PBKDF2 (RFC 9579, section 4). */
const readPbmac1 = (parameters: Ber.Element | undefined, digest: Buffer): Mac => {
  const [derivation, scheme] = Ber.childrenOf(parameters)
  const [kind, settings] = Ber.childrenOf(derivation)
  if (Ber.oidOf(kind) !== oids.pbkdf2) {
    throw malformed("has a MAC with a key derivation that is not known")
  }
  const [salt, count, length, prf] = Ber.childrenOf(settings)
  const keyBytes = integer(length, "key size of its MAC")
  if (!Ber.isOctetString(salt) || keyBytes < macKeyBytes.min || keyBytes > macKeyBytes.max) {
    throw malformed(`has a MAC with a salt or a key of ${keyBytes} bytes, which is not allowed`)
  }
  const hash = prf === undefined ? "sha1" : readHmac(prf)
  return {
    _tag: "Pbmac1",
    derivation: { _tag: "Pbkdf2", salt: Ber.octetsOf(salt), iterations: iterationsIn(count), hash },
    keyBytes,
    hash: readHmac(scheme),
    digest
  }
}

const readMac = (element: Ber.Element): Mac => {
  const [digestInfo, salt, count] = Ber.childrenOf(element)
  const [algorithm, value] = Ber.childrenOf(digestInfo)
  const [kind, parameters] = Ber.childrenOf(algorithm)
  const name = Ber.oidOf(kind)
  const digest = Ber.octetsOf(value)
  if (name === oids.pbmac1) {
    return readPbmac1(parameters, digest)
  }
  const hash = digests.get(name)
  if (hash === undefined) {
    throw malformed(`has a MAC by ${name}, which is not known`)
  }
  const iterations = count === undefined ? 1 : iterationsIn(count)
  return { _tag: "Pkcs12", salt: Ber.octetsOf(salt), iterations, hash, digest }
}

/** The outermost layer of a PKCS#12. */
export const readPfx = (bytes: Uint8Array, meter: Meter): Pfx => {
  const [version, authenticated, mac] = Ber.childrenOf(parse(bytes, meter))
  if (Ber.integerOf(version) !== 3 || authenticated === undefined) {
    throw new Ber.NotBer("not version 3")
  }
  const [kind, data] = contentOf(authenticated)
  if (kind !== oids.data) {
    throw malformed("is protected by a public key instead of a passphrase")
  }
  return { contents: Ber.octetsOf(data), mac: mac === undefined ? undefined : readMac(mac) }
}

/** The parts of the contents; those of kinds that are not known are left out. */
export const readParts = (contents: Uint8Array, meter: Meter): ReadonlyArray<Part> =>
  Ber.childrenOf(parse(contents, meter)).flatMap((part): ReadonlyArray<Part> => {
    const [kind, data] = contentOf(part)
    if (kind === oids.data) {
      return [{ _tag: "Plain", bags: Ber.octetsOf(data) }]
    }
    if (kind !== oids.encryptedData) {
      return []
    }
    const [, algorithm, encrypted] = Ber.childrenOf(Ber.childrenOf(data)[1])
    return [{ _tag: "Encrypted", bags: readEncrypted(algorithm, encrypted) }]
  })

/** The bags of a part, and those in them; bags of kinds that are not known are left out. */
export const readBags = (safe: Ber.Element, meter: Meter, depth = 0): ReadonlyArray<Bag> => {
  if (depth > meter.budget.maxBagDepth) {
    throw malformed("is nested too deeply")
  }
  return Ber.childrenOf(safe).flatMap((bag): ReadonlyArray<Bag> => {
    const [kind, value] = contentOf(bag)
    if (value === undefined) {
      throw malformed("has an empty bag")
    }
    switch (kind) {
      case oids.keyBag:
        return [{ _tag: "Key", der: Ber.encode(value) }]
      case oids.shroudedKeyBag: {
        const [algorithm, encrypted] = Ber.childrenOf(value)
        return [{ _tag: "EncryptedKey", key: readEncrypted(algorithm, encrypted) }]
      }
      case oids.certBag: {
        const [type, certificate] = contentOf(value)
        return type === oids.x509Certificate ? [{ _tag: "Certificate", der: Ber.octetsOf(certificate) }] : []
      }
      case oids.safeContentsBag:
        return readBags(value, meter, depth + 1)
      default:
        return []
    }
  })
}

/** An EncryptedPrivateKeyInfo. */
export const readEncryptedKey = (bytes: Uint8Array, meter: Meter): Encrypted => {
  const [algorithm, encrypted] = Ber.childrenOf(parse(bytes, meter))
  return readEncrypted(algorithm, encrypted)
}

/**
 * A key that was decrypted, as DER. What a wrong passphrase makes of one may look like ASN.1, but not like a
 * PrivateKeyInfo.
 */
export const readKey = (bytes: Uint8Array, meter: Meter): Buffer => {
  const key = parse(bytes, meter)
  const [version, algorithm, octets] = Ber.childrenOf(key)
  if (version?.tag !== Ber.tags.integer || algorithm?.tag !== Ber.tags.sequence || !Ber.isOctetString(octets)) {
    throw new Ber.NotBer("not a private key")
  }
  return Ber.encode(key)
}
