#!/usr/bin/env bash
# What the GitHub Action does, one step a command. Only `comment` needs GitHub; the others run anywhere.
#
#   action/xp-ci.sh setup     which binary the other steps use, and a digest of the source that it is built from
#   action/xp-ci.sh check     xp fmt --check, xp check, and xp lock --check where there is a lock
#   action/xp-ci.sh diff      Markdown: what changed in each lock since the base
#   action/xp-ci.sh comment   the same as one comment on the pull request, updated in place
#   action/xp-ci.sh run       xp run of every experiment
#
# Settings are environment variables: XP (the binary), XP_EXPERIMENTS (patterns, one a line), XP_BASE (a revision),
# XP_RUN_ARGS, PR_NUMBER, and those that GitHub sets. Exit codes: 0 done; 1 a check says no; 2 trouble.
set -euo pipefail
shopt -s nullglob globstar

xp="${XP:-xp}"
# A comment that starts with this is ours.
marker='<!-- xp: locks -->'
# GitHub admits 65,536 characters.
most_characters=60000

trouble() {
  if [ -n "${GITHUB_ACTIONS:-}" ]; then
    printf '::error title=xp::%s\n' "$*" >&2
  fi
  printf 'xp-ci: %s\n' "$*" >&2
  exit 2
}

# The experiments that the patterns match, sorted, into `files`. Names may have spaces, so a pattern is a line.
files=()
find_experiments() {
  local pattern IFS=
  while read -r pattern; do
    # Unquoted, so that it is expanded; without IFS it is not split.
    # shellcheck disable=SC2206
    [ -z "$pattern" ] || files+=($pattern)
  done <<<"${XP_EXPERIMENTS:-experiments/**/*.kdl}"
  if [ "${#files[@]}" -eq 0 ]; then
    trouble "no experiment matches ${XP_EXPERIMENTS:-experiments/**/*.kdl}"
  fi
}

# Runs a check in a group of its own; 1 when it says no.
step() {
  local title="${1//$'\n'/ }" code=0 quiet="xp-$RANDOM$RANDOM$RANDOM"
  shift
  if [ -z "${GITHUB_ACTIONS:-}" ]; then
    printf '== %s\n' "$title"
    "$@" 2>&1 || code=$?
  else
    # What xp prints holds lines of the files that it read: they give the runner no orders.
    printf '::group::%s\n::stop-commands::%s\n' "$title" "$quiet"
    "$@" 2>&1 || code=$?
    printf '::%s::\n::endgroup::\n' "$quiet"
  fi
  if [ "$code" -eq 0 ]; then return 0; fi
  if [ -n "${GITHUB_ACTIONS:-}" ]; then
    printf '::error title=%s::exit code %s: the group above says why\n' "$title" "$code"
  else
    printf 'xp-ci: %s: exit code %s\n' "$title" "$code"
  fi
  return 1
}

lock_of() {
  local name="${1##*/}"
  printf 'locks/%s.lock.kdl' "${name%.kdl}"
}

# The binary that was given, or the one that is built from this source.
setup() {
  local source given="${XP:-}" file
  source="$(cd "$(dirname "$0")/.." && pwd)"
  case "$given" in
    "") given="$source/target/release/xp" ;;
    */*) given="$(cd "$(dirname "$given")" && pwd)/${given##*/}" ;;
  esac
  printf 'xp=%s\n' "$given"
  printf 'key='
  {
    cat "$source/Cargo.toml" "$source/Cargo.lock"
    find "$source/src" "$source/schemas" -type f | LC_ALL=C sort | while IFS= read -r file; do cat "$file"; done
  } | sha256sum | cut -c 1-32
}

# Every check is made, whatever the others say.
check() {
  local failed=0 file lock
  find_experiments
  step "xp fmt --check" "$xp" fmt --check -- "${files[@]}" || failed=1
  step "xp check" "$xp" check -- "${files[@]}" || failed=1
  for file in "${files[@]}"; do
    lock="$(lock_of "$file")"
    if [ -e "$lock" ]; then
      step "xp lock --check $file" "$xp" lock --check -- "$file" || failed=1
    else
      printf '%s has no lock: xp lock writes %s\n' "$file" "$lock"
    fi
  done
  return "$failed"
}

# The commit that locks are compared with: where this branch left the base.
base_commit() {
  local ref="${XP_BASE:-}" fork
  if [ -z "$ref" ] && [ -n "${GITHUB_BASE_REF:-}" ]; then
    ref="origin/$GITHUB_BASE_REF"
  fi
  # Without a pull request, the commit before this one.
  ref="${ref:-HEAD^}"
  if ! git rev-parse --quiet --verify "$ref^{commit}" >/dev/null && [[ "$ref" == origin/* ]]; then
    # A checkout of one commit has no other branch.
    git fetch --quiet --no-tags --depth=1 origin "+refs/heads/${ref#origin/}:refs/remotes/$ref" >&2 || true
  fi
  git rev-parse --quiet --verify "$ref^{commit}" >/dev/null ||
    trouble "there is no revision $ref; check out with fetch-depth: 0, or name another base"
  fork="$(git merge-base "$ref" HEAD 2>/dev/null || true)"
  git rev-parse --short=12 "${fork:-$ref}^{commit}"
}

# Writes the Markdown of every lock that differs from the base into a file; nothing when none does.
write_diff() {
  local out="$1" base prefix status lock old new code part shown=0 left=0
  base="$(base_commit)"
  prefix="$(git rev-parse --show-prefix)"
  : >"$out"
  part="$(mktemp)"
  while IFS= read -r -d '' status && IFS= read -r -d '' lock; do
    [[ "$lock" == *.lock.kdl ]] || continue
    old="$base:$prefix$lock" new="$lock"
    case "$status" in
      A) old=/dev/null ;;
      D) new=/dev/null ;;
    esac
    code=0
    "$xp" diff --markdown -- "$old" "$new" >"$part" || code=$?
    if [ "$code" -gt 1 ]; then
      printf '### %s cannot be compared with the base\n\nThe log of this job says why.\n' "\`${lock//\`/}\`" >"$part"
    elif [ "$code" -eq 0 ]; then
      # Another form of the same facts.
      continue
    fi
    if [ "$(($(wc -m <"$out") + $(wc -m <"$part")))" -gt "$most_characters" ]; then
      left=$((left + 1))
      continue
    fi
    if [ "$shown" -gt 0 ]; then printf '\n---\n\n' >>"$out"; fi
    cat "$part" >>"$out"
    shown=$((shown + 1))
  done < <(git diff --relative --no-renames --name-status -z "$base" -- locks)
  if [ "$left" -gt 0 ]; then
    # shellcheck disable=SC2016 # The backticks are Markdown.
    printf '\n---\n\n%s more locks differ: `xp diff` tells how\n' "$left" >>"$out"
  fi
  rm -f "$part"
}

diff_locks() {
  local out
  out="$(mktemp)"
  write_diff "$out"
  cat "$out"
  rm -f "$out"
}

# Answers of `gh api`, or nothing and a warning: a pull request from a fork may not write comments.
gh_api() {
  gh api "$@" || {
    printf '::warning title=xp::the comment could not be written; the summary of this job has it\n' >&2
    return 1
  }
}

comment() {
  local body text id comments
  text="$(mktemp)"
  body="$(mktemp)"
  write_diff "$text"
  if [ -s "$text" ] && [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$text" >>"$GITHUB_STEP_SUMMARY"
  fi
  if [ -z "${PR_NUMBER:-}" ]; then
    echo "no pull request: nothing to comment on"
    return 0
  fi
  comments="repos/${GITHUB_REPOSITORY:?}/issues/$PR_NUMBER/comments"
  id="$(gh_api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$marker\")) | .id")" || return 0
  id="${id%%$'\n'*}"
  if [ ! -s "$text" ]; then
    if [ -z "$id" ]; then
      echo "no lock differs from the base"
      return 0
    fi
    # What the comment said does not hold any more.
    printf 'No lock differs from the base any more.\n' >"$text"
  fi
  { printf '%s\n' "$marker"; cat "$text"; } >"$body"
  if [ -n "$id" ]; then
    gh_api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id" --field "body=@$body" --silent || return 0
    echo "comment $id was updated"
  else
    gh_api --method POST "$comments" --field "body=@$body" --silent || return 0
    echo "a comment was written"
  fi
  rm -f "$text" "$body"
}

run() {
  local failed=0 file
  local -a args=()
  read -r -a args <<<"${XP_RUN_ARGS:-}"
  find_experiments
  for file in "${files[@]}"; do
    step "xp run $file" "$xp" run ${args[@]+"${args[@]}"} -- "$file" || failed=1
  done
  return "$failed"
}

case "${1:-}" in
  setup) setup ;;
  check) check ;;
  diff) diff_locks ;;
  comment) comment ;;
  run) run ;;
  *)
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
