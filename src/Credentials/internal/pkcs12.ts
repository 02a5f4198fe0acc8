/**
 * From PKCS#12 to the certificates and the key in it, and from encrypted PKCS#8 to the key in it. Node's own reader of
 * PKCS#12 refuses much of what is in use: RC2 and 3DES, files without a MAC, files of certificates only. Its reader of
 * PKCS#8 derives keys on the event loop, as many rounds as the file says.
 */
import { type Budget, defaultBudget, type Meter, makeMeter, malformed, Pkcs12Problem } from "./pkcs12Budget.js"
import * as Decryptor from "./pkcs12Decryptor.js"
import * as Reader from "./pkcs12Reader.js"

export { Pkcs12Problem }

/** What is in a file, as DER: certificates in their order, and private keys as PKCS#8. */
export interface Contents {
  readonly certificates: ReadonlyArray<Buffer>
  readonly keys: ReadonlyArray<Buffer>
}

/** Reads within the budget; whatever else is thrown comes of bytes that are not what they should be. */
const within = async <A>(
  budget: Budget,
  bytes: Uint8Array,
  otherwise: string,
  f: (meter: Meter) => Promise<A>
): Promise<A> => {
  try {
    if (bytes.length > budget.maxBytes) {
      throw malformed(`has more than ${budget.maxBytes} bytes`)
    }
    return await f(makeMeter(budget))
  } catch (error) {
    throw error instanceof Pkcs12Problem ? error : malformed(otherwise)
  }
}

/**
 * Reads a PKCS#12. Rejects with `Pkcs12Problem` and nothing else: `WrongPassphrase`, or `Malformed` if it is no such
 * file, is encrypted in an unknown way or asks for more than the budget.
 */
export const read = (bytes: Uint8Array, passphrase: string, budget: Budget = defaultBudget): Promise<Contents> =>
  within(budget, bytes, "is no PKCS#12", async (meter) => {
    const { contents, mac } = Reader.readPfx(bytes, meter)
    if (mac !== undefined) {
      await Decryptor.checkMac(mac, contents, passphrase, meter)
    }
    const certificates: Array<Buffer> = []
    const keys: Array<Buffer> = []
    for (const part of Reader.readParts(contents, meter)) {
      const safe =
        part._tag === "Plain"
          ? Reader.parse(part.bags, meter)
          : await Decryptor.decrypt(part.bags, passphrase, meter, (plain) => Reader.parse(plain, meter))
      for (const bag of Reader.readBags(safe, meter)) {
        if (bag._tag === "Certificate") {
          certificates.push(bag.der)
        } else {
          keys.push(bag._tag === "Key" ? bag.der : await decryptKeyWith(bag.key, passphrase, meter))
        }
      }
    }
    return { certificates, keys }
  })

/** Decrypts an EncryptedPrivateKeyInfo to PKCS#8. Rejects with `Pkcs12Problem`, as `read` does. */
export const decryptKey = (bytes: Uint8Array, passphrase: string, budget: Budget = defaultBudget): Promise<Buffer> =>
  within(budget, bytes, "is no encrypted private key", (meter) =>
    decryptKeyWith(Reader.readEncryptedKey(bytes, meter), passphrase, meter)
  )

const decryptKeyWith = (key: Reader.Encrypted, passphrase: string, meter: Meter): Promise<Buffer> =>
  Decryptor.decrypt(key, passphrase, meter, (plain) => Reader.readKey(plain, meter))
