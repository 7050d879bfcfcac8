# shellcheck shell=bash
# Placement of MongoDB's members on nodes; deploy.sh sources this file after swarm_lib.sh.
# Data does not move with a member: on another node it starts empty, and three empty members are an empty vault.
# Swarm moves a task as soon as a node's labels forbid it. So a label may only confirm the current placement.

members=(1 2 3)     # the numbers of the members; an additional stack file can have more
declare -A label=() # node to its label: its member, none or empty
declare -A home=()  # member to its node, or empty

find_members() { # fill in `label` and `home`
    # shellcheck disable=SC2154 # swarm_lib.sh sets stack
    local nodes node number runs found services=${stack}_mongodb
    nodes=$(await_answer docker node ls -q) || exit
    for node in $nodes; do
        label[$node]=$(await_answer docker node inspect "$node" --format '{{index .Spec.Labels "mongodb"}}')
    done
    found=$(await_answer docker service ls -f "name=$services-" --format '{{.Name}}') || exit
    mapfile -t members < <(printf '%s\n' "${members[@]}" "${found//$services-/}" | grep -x '[0-9]' | sort -u)
    for number in "${members[@]}"; do
        home[$number]=
        for node in "${!label[@]}"; do
            [[ ${label[$node]} != "$number" ]] || home[$number]=$node
        done
        grep -qx "$services-$number" <<<"$found" || continue
        # While an update replaces its task, the next one is only ready.
        runs=$(await_answer docker service ps --no-resolve -f desired-state=running -f desired-state=ready \
            --format '{{.Node}}' "$services-$number") || exit
        home[$number]=${home[$number]:-$runs}
        [[ ${home[$number]} ]] || misplaced "mongodb-$number is not running and no node has its label: see docs/nodes.md"
        [[ -z $runs || $runs == "${home[$number]}" ]] ||
            misplaced "mongodb-$number runs on node $runs, but node ${home[$number]} has its label: see docs/nodes.md"
    done
}

misplaced() { # misplaced REASON: say which nodes are down, and fail
    docker node ls --format '{{.Status}} {{.Hostname}}' | sed -n 's/^Down \(.*\)/Node \1 is down./p' >&2
    fail "$1"
}

choose_homes() { # give each new member its own node; with too few nodes, give all the same one
    local node number free=() new=()
    for number in "${members[@]}"; do
        [[ ${home[$number]} ]] || new+=("$number")
    done
    for node in $(docker node ls --format '{{.ID}} {{.Status}} {{.Availability}}' | sed -n 's/ Ready Active$//p'); do
        [[ ${label[$node]} || " ${home[*]} " == *" $node "* ]] || free+=("$node")
    done
    ((${#free[@]} >= ${#new[@]} || (${#free[@]} > 0 && ${#new[@]} == ${#members[@]}))) ||
        fail "no node available for replica set members ${new[*]}: see docs/nodes.md"
    for number in "${new[@]}"; do
        home[$number]=${free[0]}
        ((${#free[@]} < ${#new[@]})) || free=("${free[@]:1}" "${free[0]}")
    done
}

place_members() { # after find_members, label all nodes, so that no member ever starts away from its data
    local node number
    local -A said=()
    ((${#label[@]} > 1)) || return 0
    choose_homes
    case $(printf '%s\n' "${home[@]}" | sort -u | wc -l) in
        "${#members[@]}") for number in "${members[@]}"; do said[${home[$number]}]=$number; done ;;
        1) said[${home[1]}]='' && say "All MongoDB members run on node ${home[1]}: if you lose it, you lose all data." ;;
        *) fail "replica set members share a node: see docs/nodes.md" ;;
    esac
    for node in "${!label[@]}"; do
        number=${said[$node]-none}
        [[ -z ${label[$node]} && $number ]] || continue
        docker node update --label-add "mongodb=$number" "$node" >/dev/null
        say "Labelled node $node with mongodb=$number."
    done
}
