/**
 * Names that stand for what a program was started with: standard input, descriptors.
 *
 * @module
 */

const STANDARD_INPUT = /^(?:-|\/dev\/stdin|\/(?:dev|proc\/self)\/fd\/0)$/;
const DESCRIPTOR = /^\/(?:dev|proc\/self)\/fd\/(\d{1,9})$/;

/** Whether a name stands for standard input. */
export function isStandardInput(path: string): boolean {
  return STANDARD_INPUT.test(path);
}

/** Whether a name is a descriptor from the program's start: it names no file, and is read once. */
export function isDescriptor(path: string): boolean {
  return isStandardInput(path) || DESCRIPTOR.test(path);
}

/** The number of a descriptor; undefined for the name of a file. */
export function descriptorOf(path: string): number | undefined {
  const number = DESCRIPTOR.exec(path)?.[1];
  return number === undefined ? undefined : Number(number);
}
