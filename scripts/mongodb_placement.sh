# shellcheck shell=bash
# Placement of MongoDB's members on nodes; deploy.sh sources this file after swarm_lib.sh.
# Data does not move with a member: on another node it starts empty, and three empty members are an empty vault.
# Swarm moves a task as soon as a node's labels forbid it. So a label may only confirm the current placement.

declare -A label=() # node to its label: 1, 2, 3, none or empty
declare -A home=()  # member to its node, or empty

find_members() { # fill in `label` and `home`
    # shellcheck disable=SC2154 # swarm_lib.sh sets stack
    local node number runs services=${stack}_mongodb
    for node in $(docker node ls -q); do
        label[$node]=$(docker node inspect "$node" --format '{{index .Spec.Labels "mongodb"}}')
    done
    for number in 1 2 3; do
        home[$number]=
        for node in "${!label[@]}"; do
            [[ ${label[$node]} != "$number" ]] || home[$number]=$node
        done
        docker service inspect "$services-$number" >/dev/null 2>&1 || continue
        runs=$(docker service ps --no-resolve -f desired-state=running --format '{{.Node}}' "$services-$number")
        home[$number]=${home[$number]:-$runs}
        [[ ${home[$number]} ]] || fail "mongodb-$number is not running and no node has its label: see Several nodes in docs/operations.md"
        [[ -z $runs || $runs == "${home[$number]}" ]] ||
            fail "mongodb-$number runs on node $runs, but node ${home[$number]} has its label: see Several nodes in docs/operations.md"
    done
}

choose_homes() { # give each new member its own node; with too few nodes, give all three the same one
    local node number free=() new=()
    for number in 1 2 3; do
        [[ ${home[$number]} ]] || new+=("$number")
    done
    for node in $(docker node ls --format '{{.ID}} {{.Status}} {{.Availability}}' | sed -n 's/ Ready Active$//p'); do
        [[ ${label[$node]} || " ${home[*]} " == *" $node "* ]] || free+=("$node")
    done
    ((${#free[@]} >= ${#new[@]} || (${#free[@]} > 0 && ${#new[@]} == 3))) ||
        fail "no node available for replica set members ${new[*]}: see Several nodes in docs/operations.md"
    for number in "${new[@]}"; do
        home[$number]=${free[0]}
        ((${#free[@]} < ${#new[@]})) || free=("${free[@]:1}" "${free[0]}")
    done
}

place_members() { # after find_members, label all nodes, so that no member ever starts away from its data
    local node number
    ((${#label[@]} > 1)) || return 0
    choose_homes
    case $(printf '%s\n' "${home[@]}" | sort -u | wc -l) in
        3) local -A said=(["${home[1]}"]=1 ["${home[2]}"]=2 ["${home[3]}"]=3) ;;
        1) local -A said=(["${home[1]}"]='') && say "All MongoDB members run on node ${home[1]}: if you lose it, you lose all data." ;;
        *) fail "replica set members share a node: see Several nodes in docs/operations.md" ;;
    esac
    for node in "${!label[@]}"; do
        number=${said[$node]-none}
        [[ -z ${label[$node]} && $number ]] || continue
        docker node update --label-add "mongodb=$number" "$node" >/dev/null
        say "Labelled node $node with mongodb=$number."
    done
}
