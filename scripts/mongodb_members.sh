# shellcheck shell=bash
# Updates of MongoDB's members; deploy.sh sources this file after swarm_jobs.sh and mongodb_placement.sh.
# A member that restarts is away until it has caught up. So one restarts at a time, and only if no other is away.
# shellcheck disable=SC2154 # the other files set these variables

absent=() # the members whose node is down or drained
late=()   # the members that are not in step

report_nodes() { # fill in `absent`, and say which nodes are down and what follows; fail if too few members are left
    local node status availability name number lost majority=$((${#members[@]} / 2 + 1))
    while read -r node status availability name; do
        [[ $status != Ready || $availability == Drain ]] || continue
        lost=()
        for number in "${members[@]}"; do
            [[ ${home[$number]-} != "$node" ]] || lost+=("$number")
        done
        absent+=("${lost[@]}")
        [[ $status != Ready ]] && status="is down" || status="is drained"
        if ((${#lost[@]} == 1)); then
            say "Node $name $status, and so is mongodb-${lost[*]}."
        elif ((${#lost[@]} > 1)); then
            say "Node $name $status, and so are ${lost[*]/#/mongodb-}."
        elif [[ $status == "is down" ]]; then
            say "Node $name is down. It has no member of MongoDB."
        fi
    done < <(docker node ls --format '{{.ID}} {{.Status}} {{.Availability}} {{.Hostname}}')
    number=$((${#members[@]} - ${#absent[@]}))
    ((number >= majority)) ||
        fail "the service needs $majority of MongoDB's ${#members[@]} members: bring back a node, then run this script again"
    ((${#absent[@]} == 0)) ||
        say "$number members of MongoDB are left, and the service needs $majority. MongoDB stays as it is: when the node is back, run this script again."
}

await_nodes() { # after a change of the swarm's leader, wait until it knows the state of each node
    local deadline=$((SECONDS + 60))
    while [[ $(docker node ls --format '{{.Status}}') == *Unknown* ]] && ((SECONDS < deadline)); do
        sleep 1
    done
}

deploy_all_members() { # succeed if all members are to be deployed together: they are new, or cannot serve together now
    local number args count alive=0
    for number in "${members[@]}"; do
        exists "${stack}_mongodb-$number" || return 0
        args=$(await_answer docker service inspect "${stack}_mongodb-$number" --format '{{.Spec.TaskTemplate.ContainerSpec.Args}}') || exit
        # Members with a key do not talk to members without one.
        [[ $args == *keyFile* ]] || return 0
        count=$(running "${stack}_mongodb-$number") || exit
        ((alive += count)) || true
    done
    ((alive == 0))
}

ask_members() { # ask_members WAIT: print number and state of each member, as "1 primary"; wait up to WAIT until all are in step
    local said states try hosts
    printf -v hosts ',mongodb-%s' "${members[@]}"
    for try in 1 2 3; do
        # The status needs no credential.
        # shellcheck disable=SC2046 # `near` prints at most one word
        said=$(run_job $(near) --env "MONGO_URI=mongodb://${hosts#,}/?replicaSet=rs0" --limit-memory 256M \
            "$IMAGE" replicaset status --json --wait "$1" 2>&1) || true
        states=$(sed -n 's/.*"member": "mongodb-\([0-9]\):[0-9]*", "state": "\(.*\)".*/\1 \2/p' <<<"$said")
        [[ -z $states ]] || break
        # A node that has just returned can lack the network for a moment.
        say "Attempt $try of 3 to ask MongoDB's members failed: ${said//$'\n'/ }"
    done
    printf '%s\n' "$states"
}

in_step() { # succeed if all members are in step within 3 minutes
    [[ $(ask_members 3m | grep -cE ' (primary|secondary)$') == "${#members[@]}" ]]
}

update_members() { # deploy the members one at a time, the primary last; fill in `late` if some are not in step
    local number state count primary='' others=()
    local -A silent=()
    say "Asking MongoDB's members for their state."
    while read -r number state; do
        case $state in
            primary) primary=$number ;;
            secondary) others+=("$number") ;;
            *) late+=("$number") ;;&
            "no answer") silent[$number]=true ;;
        esac
    done < <(ask_members 1s)
    ((${#others[@]} + ${#late[@]} > 0)) || fail "MongoDB's members do not answer: $(culprit)"
    for number in "${late[@]}"; do
        count=$(running "${stack}_mongodb-$number")
        # A member that runs is catching up, or its node is lost: a restart would not help it.
        if ((count == 0)); then
            unset "silent[$number]"
            start_member "$number"
        fi
    done
    if ((${#silent[@]})) && lost_node "${!silent[@]}"; then
        late=()
        report_nodes
        return 0
    fi
    if ((${#late[@]})); then
        say "Waiting up to 3 minutes until ${late[*]/#/mongodb-} is in step."
        in_step || return 0
        others+=("${late[@]}")
        late=()
    fi
    for number in "${others[@]}" $primary; do
        update_member "$number"
    done
}

lost_node() { # lost_node NUMBER…: succeed if the swarm notices within 20 s that the node of one of these members is down
    local number state deadline=$((SECONDS + 20))
    # The swarm counts a node as ready until three heartbeats are missing, 15 s.
    while ((SECONDS < deadline)); do
        for number in "$@"; do
            state=$(docker node inspect "${home[$number]}" --format '{{.Status.State}}') || continue
            [[ $state != down ]] || return 0
        done
        sleep 1
    done
    return 1
}

start_member() { # start_member NUMBER: deploy a member that does not run, and start it if Docker has lost track of it
    local name=${stack}_mongodb-$1 why
    deploy_services "mongodb-$1"
    why=$(unplaced "$name")
    # If its service was deployed while its node was down, its task stays pending.
    if [[ $why ]]; then
        say "Starting mongodb-$1, which Docker did not start although its node is back."
        docker service update --quiet --detach --force "$name" >/dev/null
    fi
    await_update "$name"
}

update_member() { # update_member NUMBER: deploy a member, and if that restarts it, wait until it is in step again
    local name=${stack}_mongodb-$1 before
    before=$(spec "$name")
    deploy_services "mongodb-$1"
    [[ $(spec "$name") != "$before" ]] || return 0
    say "Restarting mongodb-$1, and waiting until it is in step."
    await_update "$name"
    in_step || fail "mongodb-$1 is not in step again: for the reason, run docker service logs $name"
}
