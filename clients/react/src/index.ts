"use client";

import type { Budget, BudgetCard as BudgetCardElement, State, Strings } from "@outlay/card";
import { createElement, type CSSProperties, type ReactElement, type ReactNode, type RefObject, useEffect, useRef, useState } from "react";

export type { Budget, State, Strings };

export interface BudgetCardProps {
  userId: string;
  /** The server's address for browsers; may have a path. */
  src: string;
  /** An address of your application that answers `{"token": ...}`. */
  tokenUrl?: string;
  token?: string;
  /** Which meters, in which order, like `aiRuns cost`. */
  meters?: string;
  variant?: "full" | "compact" | "inline";
  show?: "used" | "remaining";
  upgradeHref?: string;
  locale?: string;
  theme?: "light" | "dark";
  forecast?: boolean;
  getToken?: () => string | Promise<string>;
  strings?: Strings;
  /** Figures of your own; then no server is asked. */
  budget?: Budget;
  onBudget?: (budget: Budget) => void;
  onStateChange?: (change: { meter: string; from?: State; to: State }) => void;
  /** Return false to go your own way to a larger plan. */
  onUpgrade?: (budget: Budget) => boolean | void;
  onError?: (error: { status?: number; message: string }) => void;
  className?: string;
  style?: CSSProperties;
  /** What shows before the script is there, and what goes into the slots `header`, `upgrade` and `footer`. */
  children?: ReactNode;
}

/** The budget card: what a user has used of this month's budget, live. */
export function BudgetCard(props: BudgetCardProps): ReactElement {
  const { userId, src, tokenUrl, token, meters, variant, show, upgradeHref, locale, theme, forecast, getToken, strings, budget, className, style, children } = props;
  const card = useRef<BudgetCardElement>(null), latest = useRef(props);
  // The element takes its inputs as attributes: frameworks set properties of an element that is not defined yet unreliably.
  useEffect(() => {
    void import("@outlay/card");
  }, []);
  useEffect(() => {
    latest.current = props;
  });
  useProperty(card, "getToken", getToken);
  useProperty(card, "strings", strings);
  useProperty(card, "budget", budget);
  useEffect(() => {
    const element = card.current, stop = new AbortController();
    const listen = (name: string, heard: (event: CustomEvent) => void) =>
      element?.addEventListener(`outlay-${name}`, (event) => heard(event as CustomEvent), { signal: stop.signal });
    listen("budget", ({ detail }) => latest.current.onBudget?.(detail));
    listen("state", ({ detail }) => latest.current.onStateChange?.(detail));
    listen("upgrade", (event) => latest.current.onUpgrade?.(event.detail) === false && event.preventDefault());
    listen("error", ({ detail }) => latest.current.onError?.(detail));
    return () => stop.abort();
  }, []);
  return createElement(
    "outlay-budget-card",
    {
      ref: card, "user-id": userId, src, "token-url": tokenUrl, token, meters, variant, show, "upgrade-href": upgradeHref, locale, theme,
      forecast: forecast ? "" : undefined, class: className, style,
    },
    children,
  );
}

/** Sets a property that was given, and takes it back when it no longer is. */
function useProperty<Name extends "getToken" | "strings" | "budget">(card: RefObject<BudgetCardElement | null>, name: Name, value: unknown) {
  const was = useRef<unknown>(undefined);
  useEffect(() => {
    if (value !== was.current && card.current) Reflect.set(card.current, name, value ?? null);
    was.current = value;
  }, [card, name, value]);
}

export interface UseBudget {
  /** null until it is known. */
  budget: Budget | null;
  error: { status?: number; message: string } | null;
}

/**
 * A user's budget, live, for your own display. It is read by a card that is not shown, so both are always of one mind;
 * a new `getToken` each time is fine.
 */
export function useBudget({ userId, src, tokenUrl, token, getToken }: Pick<BudgetCardProps, "userId" | "src" | "tokenUrl" | "token" | "getToken">): UseBudget {
  const [state, setState] = useState<UseBudget>({ budget: null, error: null }), ask = useRef(getToken);
  useEffect(() => {
    ask.current = getToken;
  });
  const asks = !!getToken;
  useEffect(() => {
    const stop = new AbortController(), card = document.createElement("outlay-budget-card") as BudgetCardElement;
    for (const [name, value] of Object.entries({ "user-id": userId, src, "token-url": tokenUrl, token })) if (value) card.setAttribute(name, value);
    if (asks) card.getToken = () => ask.current?.() ?? "";
    card.hidden = true;
    const { signal } = stop;
    card.addEventListener("outlay-budget", (event) => setState({ budget: (event as CustomEvent<Budget>).detail, error: null }), { signal });
    card.addEventListener("outlay-error", (event) => setState(({ budget }) => ({ budget, error: (event as CustomEvent).detail })), { signal });
    void import("@outlay/card").then(() => signal.aborted || document.body.append(card));
    return () => {
      stop.abort();
      card.remove();
    };
  }, [userId, src, tokenUrl, token, asks]);
  return state;
}
