/** The codes of the errors that Node and OpenSSL report. */

/** The `code` of an error of Node; empty if there is none. */
export const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error && typeof error.code === "string" ? error.code : ""
