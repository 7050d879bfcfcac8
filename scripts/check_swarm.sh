#!/usr/bin/env bash
# Check the deployment on the nodes of a real swarm, from one of its managers: scripts/check_swarm.sh --help
set -euo pipefail
# shellcheck source=scripts/swarm_lib.sh
source "$(dirname "$0")/swarm_lib.sh"
# Its `fail` takes an exit code, too.
# shellcheck source=scripts/http_client.sh
source "$(dirname "$0")/http_client.sh"

usage() { # print the usage
    cat <<'END'
Usage: scripts/check_swarm.sh [OPTION]...

Checks the service that deploy.sh deployed, from a manager of its swarm, and prints a line for each result:

nodes      each node is ready
networks   overlay networks are encrypted
members    each MongoDB member runs, on a node of its own that is ready
requests   a secret that is created at one node's published port can be fetched at every other one
addresses  each replica records the client's address in the audit trail, not that of a proxy or of the swarm

The secrets have random values and names such as check-swarm/0123456789abcdef/1. They are deleted and purged at the
end, also after a failure or Ctrl-C; otherwise, they expire after an hour.

--token-file FILE  a file with the token (default: VAULT_TOKEN, or else a prompt)
--skip CHECK       leave a check out; repeat the option for several
-h, --help         print this text

The token needs the scopes secret:create, secret:fetch, secret:delete, secret:purge and audit:read, as the role admin
has. To create one for this script alone, run in a replica:

    secret-manager tokens create --name check-swarm --path check-swarm/ --expires-in 1h --scope secret:create \
      --scope secret:fetch --scope secret:delete --scope secret:purge --scope audit:read

VAULT_TOKEN   the token, without --token-file
VAULT_ROLE    the role, if the token is a JWT that matches several
VAULT_URL     only if the service itself has a certificate: its URL, for the name in the certificate
VAULT_CACERT  a file with the certificate authority of the service, if the system does not know it

Exit codes: 0 nothing failed, 1 a check failed or is impossible, 2 wrong usage
END
}

checks=(nodes networks members requests addresses)
skipped=' '
token_file=
while (($#)); do
    case $1 in
        --token-file=* | --skip=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --token-file)
            require_value "$@"
            token_file=$2
            shift
            ;;
        --skip)
            require_value "$@"
            [[ " ${checks[*]} " == *" $2 "* ]] || misused "--skip takes one of: ${checks[*]}"
            skipped+="$2 "
            shift
            ;;
        *) misused "unexpected argument" ;;
    esac
    shift
done

docker() { # docker ARGUMENTS…: a manager without a quorum, or a node that is down, must not make this script hang
    timeout --kill-after 5 20 docker "$@"
}

declare -A count=([ok]=0 [FAILED]=0 ["not checked"]=0)

report() { # report RESULT TEXT: print one result: ok, FAILED or "not checked"
    count[$1]=$((count[$1] + 1))
    printf '%-13s%s\n' "$1" "$2"
}

wanted() { # wanted CHECK: succeed unless the options leave the check out
    [[ $skipped == *" $1 "* ]] || return 0
    report "not checked" "$1: --skip"
    return 1
}

read_token() { # set `VAULT_TOKEN`
    if [[ $token_file ]]; then
        [[ -f $token_file && -r $token_file ]] || fail "--token-file must be a readable file"
        VAULT_TOKEN=$(<"$token_file")
    elif [[ -z ${VAULT_TOKEN-} ]]; then
        [[ -t 0 ]] || fail "export VAULT_TOKEN, or use --token-file: there is no terminal to ask for the token"
        read -rsp "Token: " VAULT_TOKEN
        say ""
    fi
    require_one_header VAULT_ROLE
    [[ $VAULT_TOKEN ]] || fail "the token is empty"
    # A newline in the token would start another header.
    [[ $VAULT_TOKEN != *[[:cntrl:][:space:]]* ]] || fail "the token contains whitespace or control characters"
}

declare -A host=() state=() address=() # by the node's ID
nodes=()                               # the IDs, by host name

find_nodes() { # fill in the variables above
    local ids id name status availability own manager
    ids=$(docker node ls -q) || fail "the managers do not answer: run docker node ls"
    # shellcheck disable=SC2086 # split the IDs into words
    while read -r id name status availability own manager; do
        nodes+=("$id")
        host[$id]=$name state[$id]=$status
        [[ $availability == active ]] || state[$id]+=", $availability"
        # A manager does not always know its own address as a node.
        [[ ! $own =~ ^(0\.0\.0\.0|127\.0\.0\.1|-)$ || $manager == - ]] || own=${manager%:*}
        own=${own#[}
        address[$id]=${own%]}
    done < <(docker node inspect $ids --format "{{.ID}} {{or .Description.Hostname .ID}} {{.Status.State}} \
{{.Spec.Availability}} {{or .Status.Addr \"-\"}} {{if .ManagerStatus}}{{.ManagerStatus.Addr}}{{else}}-{{end}}" | sort -k 2)
    ((${#nodes[@]})) || fail "the managers do not answer: run docker node ls"
}

is_ready() { # is_ready NODE: succeed if the node is up
    [[ ${state[$1]-} == ready* ]]
}

check_nodes() {
    local node
    for node in "${nodes[@]}"; do
        if is_ready "$node"; then
            report ok "node ${host[$node]}: ${state[$node]}"
        else
            report FAILED "node ${host[$node]}: ${state[$node]}"
        fi
    done
}

check_networks() {
    local network networks option
    networks=$(docker network ls -f driver=overlay -f "label=com.docker.stack.namespace=$stack" --format '{{.Name}}')
    # It carries clients' requests from the node that they reach to the node of the replica.
    [[ $mode != ingress || $tls || ${#nodes[@]} == 1 ]] || networks+=" ingress"
    [[ $networks ]] || report FAILED "networks: the stack $stack has no overlay network"
    for network in $networks; do
        option=$(docker network inspect "$network" --format '{{range $name, $value := .Options}}{{println $name "=" $value}}{{end}}') || {
            report "not checked" "network $network: Docker does not describe it"
            continue
        }
        # Docker 26 encrypts for any value of the option, newer versions do not for these.
        if [[ $option =~ (^|$'\n')encrypted\ =\ ?([^$'\n']*) && ! ${BASH_REMATCH[2],,} =~ ^(false|f|0)$ ]]; then
            report ok "network $network: encrypted"
        elif [[ $network == ingress ]]; then
            report FAILED "network ingress: not encrypted. Hint: publish with mode: host, or give the service a certificate"
        else
            report FAILED "network $network: not encrypted. Hint: driver_opts in stack.yml"
        fi
    done
}

declare -A replica_on=() # the nodes of the running replicas, by the task's ID
replicas=()

find_replicas() { # fill in the variables above
    local task node current
    while read -r task node current; do
        [[ $current == Running* ]] || continue
        replicas+=("$task")
        replica_on[$task]=$node
    done < <(running_tasks "$service")
}

running_tasks() { # running_tasks SERVICE: print ID, node or -, and state of the tasks that Docker wants to run
    docker service ps --no-resolve --no-trunc -f desired-state=running --format '{{.ID}} {{or .Node "-"}} {{.CurrentState}}' "$1"
}

check_members() {
    local service members member task node current
    local -A taken=()
    members=$(docker service ls -f "name=${stack}_mongodb-" --format '{{.Name}}' | sort)
    [[ $members ]] || report "not checked" "members: the stack $stack runs no MongoDB"
    for service in $members; do
        member=${service#"${stack}_"}
        read -r task node current < <(running_tasks "$service") || current="no task"
        if [[ $current != Running* ]]; then
            report FAILED "member $member: not running (${current,}). Hint: docker service ps --no-trunc $service"
        elif ! is_ready "$node"; then
            # Docker counts its task as running until the node is back.
            report FAILED "member $member: its node ${host[$node]-$node} is down"
        elif [[ ${taken[$node]-} ]]; then
            report FAILED "member $member: shares the node ${host[$node]} with ${taken[$node]}. Hint: docs/nodes.md"
        else
            taken[$node]=$member
            report ok "member $member: runs on ${host[$node]}"
        fi
    done
}

find_port() { # set `port`, empty if it is not published, `mode`, `tls`, and `base`, the beginning of all URLs
    local target
    target=$(setting BIND)
    target=${target##*:}
    read -r port mode < <(docker service inspect "$service" --format \
        '{{range .Endpoint.Ports}}{{println .TargetPort .PublishedPort .PublishMode}}{{end}}' |
        sed -n "s/^${target:-8000} //p") || port='' mode=''
    tls=$(setting TLS_CERT)$(setting TLS_CERT_FILE)
    base=http://localhost
    [[ -z $tls ]] || base=${VAULT_URL-}
    base=${base%/}
}

run=check-swarm-$(head -c 8 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
declare -A sender=() # the address from which each request was sent, by the request's ID
requests=0

ask() { # ask NODE PATH JSON: send a request to the node's published port; set `reply` and `status`, 000 without a reply
    local where=${address[$1]} trust=() problem=0
    [[ $where != *:* ]] || where=[$where]
    [[ -z ${VAULT_CACERT-} ]] || trust=(--cacert "$VAULT_CACERT")
    requests=$((requests + 1))
    reply=$(
        printf '%s' "$3" |
            curl --silent --connect-timeout 5 --max-time 20 --noproxy '*' ${trust[@]+"${trust[@]}"} \
                --connect-to "::$where:$port" --header @<(headers) --header "X-Request-ID: $run-$requests" \
                --data-binary @- --write-out '\n%{http_code} %{local_ip}' --url "$base$2"
    ) || problem=$?
    sender[$run-$requests]=${reply##* }
    status=${reply##*$'\n'}
    status=${status%% *}
    reply=${reply%$'\n'*}
    case $problem in
        0) ;;
        7) reply="connection refused" ;;
        28) reply="timed out" ;;
        60) reply="its certificate is not trusted, or has another name than VAULT_URL" ;;
        127) fail "curl not found: install it" ;;
        *) reply="curl ended with $problem" ;;
    esac
    ((problem == 0)) || status=000
}

refusal() { # print why the last request failed
    if [[ $status == 000 ]]; then
        printf 'no answer: %s' "$reply"
    else
        printf 'status %s: %s' "$status" "$(reason "$reply")"
    fi
}

declare -A name=() value=() secret_id=() # of the secrets, by the node at which they were created
answering=()                             # the nodes that reply

create_secrets() { # create a secret at each node that should reply
    local node parts number=0
    for node in "${nodes[@]}"; do
        if ! is_ready "$node"; then
            report "not checked" "create and fetch at ${host[$node]}: it is down"
            continue
        fi
        [[ $mode == ingress || " ${replica_on[*]} " == *" $node "* ]] || continue
        number=$((number + 1))
        name[$node]=check-swarm/${run##*-}/$number
        # Larger than a packet: in an encrypted network, a wrong MTU lets only small ones pass.
        value[$node]=$(head -c 12000 /dev/urandom | base64 -w0)
        ask "$node" /vault/secret/create "{\"name\":\"${name[$node]}\",\"secret\":\"${value[$node]}\",\"ttl_seconds\":3600}"
        [[ $status == 000 ]] || answering+=("$node")
        if [[ $status == 200 ]]; then
            split_strings "$reply"
            secret_id[$node]=${parts[3]-}
            report ok "create at ${host[$node]} (${address[$node]}:$port)"
        else
            report FAILED "create at ${host[$node]} (${address[$node]}:$port): $(refusal)"
            # Refused, so that there is nothing to remove.
            [[ $status != 4* ]] || unset "name[$node]"
        fi
    done
    ((number)) || report FAILED "create: no node has a replica"
}

has() { # has VALUE: succeed if one of the strings of the reply is the value
    local parts part
    split_strings "$reply"
    for part in "${parts[@]}"; do
        [[ $part != "$1" ]] || return 0
    done
    return 1
}

fetch_secrets() { # fetch at each node the secrets of all others, or with a single node its own
    local node other items from missing i
    for node in "${answering[@]}"; do
        items='' from='' missing=''
        for other in "${nodes[@]}"; do
            [[ ${secret_id[$other]-} && ($other != "$node" || ${#answering[@]} == 1) ]] || continue
            items+="${items:+,}{\"name\":\"${name[$other]}\"}"
            from+="${from:+, }${host[$other]}"
        done
        if [[ -z $items ]]; then
            report "not checked" "fetch at ${host[$node]}: nothing was created elsewhere"
            continue
        fi
        ask "$node" /vault/secret/fetch-batch "{\"secrets\":[$items]}"
        if [[ $status != 200 ]]; then
            report FAILED "fetch at ${host[$node]}: $(refusal)"
            continue
        fi
        for other in "${nodes[@]}"; do
            [[ $items != *"\"${name[$other]-none}\""* ]] || has "${value[$other]}" || missing+="${missing:+, }${host[$other]}"
        done
        if [[ $missing ]]; then
            report FAILED "fetch at ${host[$node]}: not the secrets of $missing: $(reason "$reply")"
            continue
        fi
        report ok "fetch at ${host[$node]}: the secrets of $from"
        # The swarm's ports give each connection to the next replica.
        [[ $mode == host ]] || for ((i = 1; i < ${#replicas[@]}; i++)); do
            ask "$node" /vault/secret/fetch-batch "{\"secrets\":[${items%%,*}]}"
        done
    done
}

declare -A recorded=() # the address in the trail, by the request's ID

read_trail() { # fill in `recorded`
    local node parts i request ip
    for node in "${!secret_id[@]}"; do
        ask "${answering[0]}" /vault/audit/query "{\"secret_id\":\"${secret_id[$node]}\",\"limit\":1000}"
        [[ $status == 200 ]] || return 0
        split_strings "$reply"
        request='' ip=''
        for ((i = 1; i + 2 < ${#parts[@]}; i += 2)); do
            [[ ${parts[i + 1]} =~ ^[[:space:]]*:[[:space:]]*$ ]] || continue
            case ${parts[i]} in
                ip) ip=${parts[i + 2]} ;;
                request_id) request=${parts[i + 2]} ;;
            esac
            if [[ $request && $ip ]]; then
                recorded[$request]=$ip
                request='' ip=''
            fi
        done
    done
}

declare -A answered_by=() # the replica's task ID, by the request's ID

read_logs() { # fill in `answered_by`
    local line task
    while IFS= read -r line; do
        # secret-manager_secret-manager.1.TASK@node    | {"time": …
        task=${line%%@*}
        [[ ! $line =~ $run-[0-9]+ ]] || answered_by[${BASH_REMATCH[0]}]=${task##*.}
    done < <(docker service logs --no-trunc --since "$((SECONDS + 5))s" "$service" 2>/dev/null | grep -F "$run")
}

check_addresses() {
    local task request total wrong found=0 label hint=''
    if ((${#secret_id[@]} == 0)); then
        report "not checked" "addresses: no secret was created"
        return
    fi
    read_trail
    if [[ $status != 200 ]]; then
        report "not checked" "addresses: the trail cannot be read: $(refusal)"
        return
    fi
    if ((${#recorded[@]} == 0)); then
        report "not checked" "addresses: the trail has no addresses of these requests"
        return
    fi
    read_logs
    [[ $mode != ingress ]] || hint=". Hint: publish with mode: host, or put a proxy in the network (Client addresses in docs/install-swarm.md)"
    for task in "${replicas[@]}"; do
        total=0 wrong=''
        label="addresses: replica ${task:0:12} on ${host[${replica_on[$task]}]-an unknown node}"
        for request in "${!recorded[@]}"; do
            [[ ${answered_by[$request]-} == "$task" ]] || continue
            total=$((total + 1))
            [[ ${recorded[$request]} == "${sender[$request]-}" ]] ||
                wrong="${recorded[$request]} in place of ${sender[$request]-an unknown one}"
        done
        found=$((found + total))
        if [[ $wrong ]]; then
            report FAILED "$label recorded $wrong$hint"
        elif ((total)); then
            report ok "$label recorded the client's, ${sender[$run-1]}"
        else
            report "not checked" "$label: docker service logs has none of its replies"
        fi
    done
    ((found == 0)) || return 0
    for request in "${!recorded[@]}"; do
        [[ ${recorded[$request]} != "${sender[$request]-}" ]] || continue
        report FAILED "addresses: a replica recorded ${recorded[$request]} in place of ${sender[$request]-an unknown one}$hint"
        break
    done
}

remove() { # remove NAME: delete and purge the secret at the first node where that works
    local node
    for node in "${answering[@]}"; do
        ask "$node" /vault/secret/delete "{\"name\":\"$1\"}"
        # Nothing to purge: deleted secrets are not kept. In a trap, `return` alone would return the status from before.
        [[ $status != 200 || ! $reply =~ \"restorable_until\":[[:space:]]*null ]] || return 0
        # Also after a 404: an earlier attempt without an answer may have deleted it.
        [[ $status == 200 || $status == 404 ]] || continue
        ask "$node" /vault/secret/purge "{\"name\":\"$1\"}"
        [[ $status != 200 && $status != 404 ]] || return 0
    done
    return 1
}

left=() # the names of secrets that could not be removed

remove_secrets() { # delete and purge what was created; fill in `left`
    local node
    for node in "${!name[@]}"; do
        # After no answer, the secret may exist.
        remove "${name[$node]}" || left+=("${name[$node]}")
        unset "name[$node]"
    done
}

check_removal() {
    local number=${#name[@]}
    remove_secrets
    if ((${#left[@]})); then
        report FAILED "delete and purge: $(refusal). These expire within an hour: ${left[*]}"
    elif ((number)); then
        report ok "deleted and purged: $number secrets"
    fi
}

ended() { # remove the secrets after an interruption
    set +e
    trap '' INT TERM PIPE
    remove_secrets
    ((${#left[@]} == 0)) || say "${0##*/}: these secrets expire within an hour: ${left[*]}"
}

check_requests() {
    if [[ -z $port || $port == 0 ]]; then
        report "not checked" "requests: the service publishes no port, or not the same one on all nodes"
        return
    fi
    trap ended EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 141' PIPE
    create_secrets
    fetch_secrets
    ! wanted addresses || check_addresses
    check_removal
    trap - EXIT INT TERM PIPE
}

check_engine
docker service inspect "$service" --format '{{.ID}}' >/dev/null 2>&1 || fail "the service does not exist: deploy it with scripts/deploy.sh"
find_nodes
find_replicas
find_port
if [[ $skipped != *" requests "* ]]; then
    [[ -z $tls || $base == https://* ]] || fail "the service has a certificate: export its URL as VAULT_URL, such as https://secrets.example.com"
    read_token
fi
! wanted nodes || check_nodes
! wanted networks || check_networks
! wanted members || check_members
if wanted requests; then
    check_requests
elif wanted addresses; then
    report "not checked" "addresses: that needs the requests"
fi
printf '%d ok, %d failed, %d not checked\n' "${count[ok]}" "${count[FAILED]}" "${count["not checked"]}"
((count[FAILED] == 0))
