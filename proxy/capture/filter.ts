/**
 * The language of capture filters, to a tree:
 *
 * ```
 * filter = all { "or" all }
 * all    = one { "and" one }
 * one    = "not" one | "(" filter ")"
 *        | [ "src" | "dst" ] "host" ADDRESS
 *        | [ "src" | "dst" ] "net" ADDRESS/LENGTH
 *        | [ "src" | "dst" ] "port" NUMBER [ "-" NUMBER ]
 *        | [ "proto" ] ( "tcp" | "udp" | "icmp" | "icmp6" )
 *        | "peer" NAME | "flow" ID
 * ```
 *
 * @module
 */

import {
  type IpAddress,
  type Prefix,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "../../netstack/mod.ts";
import { parseIpAddress, parsePrefix } from "../address.ts";
import { quote } from "../config/values.ts";
import { FilterError } from "./filter_error.ts";
import { type Token, tokensOf } from "./filter_tokens.ts";

/** Which of a packet's two ends: either, where none is named. */
export type Side = "src" | "dst" | "either";

export type FilterNode =
  | { readonly kind: "and" | "or"; readonly left: FilterNode; readonly right: FilterNode }
  | { readonly kind: "not"; readonly of: FilterNode }
  | { readonly kind: "host"; readonly side: Side; readonly address: IpAddress }
  | { readonly kind: "net"; readonly side: Side; readonly prefix: Prefix }
  | { readonly kind: "port"; readonly side: Side; readonly first: number; readonly last: number }
  | { readonly kind: "proto"; readonly protocol: number }
  /** What {@link FilterNames} gave for the name. */
  | { readonly kind: "peer" | "flow"; readonly subject: unknown };

/** Finds what filters call by name. */
export interface FilterNames {
  /** @throws {Error} whose message says what is wrong: `unknown, expected …`. */
  peer(name: string): unknown;
  /** @param id Hexadecimal digits. @throws {Error} as {@link peer}. */
  flow(id: string): unknown;
}

const PROTOCOLS: Readonly<Record<string, number>> = {
  tcp: PROTOCOL_TCP,
  udp: PROTOCOL_UDP,
  icmp: PROTOCOL_ICMP,
  icmp6: PROTOCOL_ICMPV6,
};
const PROTOCOLS_EXPECTED = "expected tcp, udp, icmp or icmp6";
const BEGINNINGS =
  "expected host, net, port, proto, tcp, udp, icmp, icmp6, peer, flow, src, dst, " +
  "not or (";
/** How deep parentheses and `not` may go. */
const MAX_DEPTH = 64;

/** @throws {FilterError} pointing at what is wrong. */
export function parseFilter(text: string, names: FilterNames): FilterNode {
  const parser = new Parser(text, names);
  return parser.whole();
}

class Parser {
  readonly #text: string;
  readonly #names: FilterNames;
  readonly #tokens: readonly Token[];
  #place = 0;
  #depth = 0;

  constructor(text: string, names: FilterNames) {
    this.#text = text;
    this.#names = names;
    this.#tokens = tokensOf(text);
  }

  whole(): FilterNode {
    const node = this.#any();
    const { kind, text, at } = this.#next;
    if (kind === "end") return node;
    throw kind === ")"
      ? this.#error(") without a (, expected and, or, or the end", at)
      : this.#error(`${quote(text)} is out of place, expected and, or, or the end`, at);
  }

  get #next(): Token {
    return this.#tokens[this.#place]!;
  }

  /** Takes a word, in any case, if it is the next. */
  #takes(word: string): boolean {
    const { kind, text } = this.#next;
    if (kind !== "word" || text.toLowerCase() !== word) return false;
    this.#place++;
    return true;
  }

  #any(): FilterNode {
    let node = this.#all();
    while (this.#takes("or")) node = { kind: "or", left: node, right: this.#all() };
    return node;
  }

  #all(): FilterNode {
    let node = this.#one();
    while (this.#takes("and")) node = { kind: "and", left: node, right: this.#one() };
    return node;
  }

  #one(): FilterNode {
    const { kind, at } = this.#next;
    if (++this.#depth > MAX_DEPTH) throw this.#error(`is more than ${MAX_DEPTH} deep`, at);
    let node: FilterNode;
    if (kind === "(") {
      this.#place++;
      node = this.#any();
      if (this.#next.kind !== ")") throw this.#error("expected )", this.#next.at);
      this.#place++;
    } else if (this.#takes("not")) node = { kind: "not", of: this.#one() };
    else node = this.#primitive();
    this.#depth--;
    return node;
  }

  #primitive(): FilterNode {
    const side = this.#takes("src") ? "src" : this.#takes("dst") ? "dst" : "either";
    const { kind, text, at } = this.#next;
    const word = kind === "word" ? text.toLowerCase() : "";
    if (word === "host" || word === "net" || word === "port") {
      this.#place++;
      if (word === "host") return this.#host(side);
      return word === "net" ? this.#net(side) : this.#port(side);
    }
    if (side !== "either") throw this.#unknown("expected host, net or port");
    if (Object.hasOwn(PROTOCOLS, word)) {
      this.#place++;
      return { kind: "proto", protocol: PROTOCOLS[word]! };
    }
    if (word !== "proto" && word !== "peer" && word !== "flow") throw this.#unknown(BEGINNINGS, at);
    this.#place++;
    if (word === "proto") return this.#protocol();
    return word === "peer" ? this.#named("peer", "a peer's name") : this.#flow();
  }

  #host(side: Side): FilterNode {
    const { text, at } = this.#value("an address");
    const address = parseIpAddress(text);
    if (address !== undefined) return { kind: "host", side, address };
    const expected = text.includes("/")
      ? "an address, or net before it"
      : "an IPv4 or IPv6 address";
    throw this.#error(`${quote(text)} is no address, expected ${expected}`, at);
  }

  #net(side: Side): FilterNode {
    const { text, at } = this.#value("a prefix");
    const prefix = text.includes("/") ? parsePrefix(text) : undefined;
    if (prefix !== undefined) return { kind: "net", side, prefix };
    throw this.#error(`${quote(text)} is no prefix, expected ADDRESS/LENGTH`, at);
  }

  #port(side: Side): FilterNode {
    const { text, at } = this.#value("a port");
    const [, from = "", to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from !== "" && first <= last && last <= 65_535) return { kind: "port", side, first, last };
    throw this.#error(
      `${quote(text)} is no port, expected 0 to 65535, or two with - between them`,
      at,
    );
  }

  #protocol(): FilterNode {
    const { text, at } = this.#value("tcp, udp, icmp or icmp6");
    const name = text.toLowerCase();
    if (Object.hasOwn(PROTOCOLS, name)) return { kind: "proto", protocol: PROTOCOLS[name]! };
    throw this.#error(`${quote(text)} is no protocol, ${PROTOCOLS_EXPECTED}`, at);
  }

  #flow(): FilterNode {
    const { text, at, kind } = this.#next;
    if (kind === "word" && !/^[0-9a-f]{1,32}$/i.test(text)) {
      throw this.#error(
        `${quote(text)} is no flow, expected an id, or its first digits, as show flows has them`,
        at,
      );
    }
    return this.#named("flow", "a flow's id");
  }

  #named(kind: "peer" | "flow", expected: string): FilterNode {
    const { text, at } = this.#value(expected);
    try {
      return { kind, subject: kind === "peer" ? this.#names.peer(text) : this.#names.flow(text) };
    } catch (error) {
      throw this.#error(`${kind} ${quote(text)}: ${(error as Error).message}`, at);
    }
  }

  /** The word behind the one that was taken. */
  #value(expected: string): Token {
    const token = this.#next;
    if (token.kind !== "word" && token.kind !== "text") {
      throw this.#error(`expected ${expected}`, token.at);
    }
    this.#place++;
    return token;
  }

  #unknown(expected: string, at = this.#next.at): FilterError {
    const { kind, text } = this.#next;
    if (kind === "end") return this.#error(expected, at);
    return this.#error(`${quote(text)} is unknown, ${expected}`, at);
  }

  #error(problem: string, at: number): FilterError {
    return new FilterError(problem, this.#text, at);
  }
}
