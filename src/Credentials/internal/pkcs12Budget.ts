/** The budget for reading one PKCS#12 or one encrypted key: whoever wrote the file must not decide what it costs. */

/** Why a file could not be read. The text never holds anything of its contents. */
export class Pkcs12Problem {
  constructor(
    readonly reason: "Malformed" | "WrongPassphrase",
    readonly text: string
  ) {}
}

/** The problem of a file that is not what it should be. */
export const malformed = (text: string): Pkcs12Problem => new Pkcs12Problem("Malformed", text)

/** What one file may cost at most. */
export interface Budget {
  readonly maxBytes: number
  /** How deep its ASN.1 may be nested. Files in use come to 12. */
  readonly maxDepth: number
  /** How deep bags may be nested in bags. */
  readonly maxBagDepth: number
  /** ASN.1 elements in all its parts. A certificate takes about 20 of them, and 800 bytes or more. */
  readonly maxElements: number
  /** Iterations of one derivation. The most that tools ask for on their own are the 600,000 of GnuTLS. */
  readonly maxIterations: number
  /**
   * Rounds of all derivations together, each of which costs up to a microsecond: with the older ciphers GnuTLS comes to
   * two million for each part of a file.
   */
  readonly maxRounds: number
  /** Memory of scrypt at a time; OpenSSL allows its own files 32 MiB. */
  readonly maxScryptBytes: number
}

/** The budget of every file that is loaded. */
export const defaultBudget: Budget = {
  maxBytes: 1024 * 1024,
  maxDepth: 32,
  maxBagDepth: 8,
  maxElements: 50_000,
  maxIterations: 5_000_000,
  maxRounds: 10_000_000,
  maxScryptBytes: 64 * 1024 * 1024
}

/** Keeps count of what a file has cost. Each of its functions throws `Pkcs12Problem` when that is too much. */
export interface Meter {
  readonly budget: Budget
  readonly element: () => void
  /** Charges for a derivation before it is done: the rounds it takes, and the iterations that the file asks for. */
  readonly derivation: (rounds: number, iterations: number) => void
  readonly scryptMemory: (bytes: number) => void
}

/** A meter at zero. */
export const makeMeter = (budget: Budget): Meter => {
  let elements = 0
  let rounds = 0
  return {
    budget,
    element: () => {
      elements += 1
      if (elements > budget.maxElements) {
        throw malformed(`has more than ${budget.maxElements} elements of ASN.1`)
      }
    },
    derivation: (more, iterations) => {
      rounds += more
      if (iterations < 1 || iterations > budget.maxIterations || rounds > budget.maxRounds) {
        throw malformed(`asks for ${iterations} iterations, which is more than anyone should wait for`)
      }
    },
    scryptMemory: (bytes) => {
      if (bytes > budget.maxScryptBytes) {
        throw malformed(`asks for ${bytes} bytes of memory, which is more than anyone should give`)
      }
    }
  }
}
