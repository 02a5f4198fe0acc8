/** What a scan has to know of a message type: the kinds of its fields, and what it costs to merge them. */
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf"
import type { Size } from "./ProtobufCursor.js"

export type Field =
  | { readonly kind: "scalar"; readonly size: Size; readonly isPackable: boolean }
  | Child
  | { readonly kind: "map"; readonly key: Size; readonly value: Size | Child }

export interface Child {
  readonly kind: "message"
  readonly message: Message
  readonly isGroup: boolean
  /** Another occurrence of the field is merged into the first, where a list has one more. */
  readonly isMerged: boolean
  /** Kept as JSON, which protobuf-es turns into a message and back for each further occurrence of the field. */
  readonly isJson: boolean
}

export interface Message {
  readonly fields: Map<number, Field>
  /** Whether a field of this message, or beneath, is merged at a cost that grows with what it holds. */
  mergesJson: boolean
}

const sizeOf = (type: ScalarType): Size => {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return "lengthDelimited"
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
    case ScalarType.FLOAT:
      return 4
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
    case ScalarType.DOUBLE:
      return 8
    default:
      return "varint"
  }
}

const isJson = (field: DescField, message: DescMessage) =>
  message.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value"

const messages = new WeakMap<DescMessage, Message>()

const compile = (desc: DescMessage): Message => {
  const known = messages.get(desc)
  if (known !== undefined) {
    return known
  }
  const message: Message = { fields: new Map(), mergesJson: false }
  // Before its fields, which may be messages of the same type.
  messages.set(desc, message)
  for (const field of desc.fields) {
    message.fields.set(field.number, compileField(field))
  }
  return message
}

const scalar = (size: Size, isPackable = false): Field => ({ kind: "scalar", size, isPackable })

const childOf = (field: DescField, desc: DescMessage, isGroup: boolean, isMerged: boolean): Child => ({
  kind: "message",
  message: compile(desc),
  isGroup,
  isMerged,
  isJson: isJson(field, desc)
})

const compileField = (field: DescField): Field => {
  switch (field.fieldKind) {
    case "scalar":
      return scalar(sizeOf(field.scalar))
    case "enum":
      return scalar("varint")
    case "message":
      return childOf(field, field.message, field.delimitedEncoding, true)
    case "list": {
      if (field.listKind === "message") {
        return childOf(field, field.message, field.delimitedEncoding, false)
      }
      const size = field.listKind === "enum" ? "varint" : sizeOf(field.scalar)
      return scalar(size, size !== "lengthDelimited")
    }
    case "map":
      return {
        kind: "map",
        key: sizeOf(field.mapKey),
        value:
          field.mapKind === "message"
            ? childOf(field, field.message, false, true)
            : field.mapKind === "enum"
              ? "varint"
              : sizeOf(field.scalar)
      }
  }
}

const childrenOf = function* ({ fields }: Message): Iterable<Child> {
  for (const field of fields.values()) {
    if (field.kind === "message") {
      yield field
    } else if (field.kind === "map" && typeof field.value === "object") {
      yield field.value
    }
  }
}

/** Whether the message or one beneath it has a field that is merged as JSON; types may hold themselves. */
const findJson = (root: Message): void => {
  const reachable = new Set([root])
  for (const message of reachable) {
    for (const child of childrenOf(message)) {
      reachable.add(child.message)
    }
  }
  let isChanged = true
  while (isChanged) {
    isChanged = false
    for (const message of reachable) {
      if (message.mergesJson) {
        continue
      }
      for (const child of childrenOf(message)) {
        if ((child.isJson && child.isMerged) || child.message.mergesJson) {
          message.mergesJson = true
          isChanged = true
        }
      }
    }
  }
}

export const make = (desc: DescMessage): Message => {
  const message = compile(desc)
  findJson(message)
  return message
}
