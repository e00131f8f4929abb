/**
 * The library for X.509, in a module of its own: what is packed into one executable keeps it apart
 * (deploy/compile.ts), for reading through it cost every command's start 18 ms.
 *
 * @module
 */

// Before the library, which registers its parsers with it.
import "npm:reflect-metadata@0.2.2";

export * from "npm:@peculiar/x509@2.2.0";
