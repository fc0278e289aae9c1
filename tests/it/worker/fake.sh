#!/bin/sh
# Plays the Python worker of `transformers`: answers every request at once, or misbehaves in its 40th step as
# FAKE_WORKER says.
echo '{"hello":{"protocol":1,"python":"3.12.1","packages":{"torch":"1.0","transformers":"2.0"}}}'
id=0
steps=0
while read -r line; do
    id=$((id + 1))
    count=0
    case $line in
    *'"do":"load"'*) echo "{\"id\":$id,\"ok\":{\"threads\":1,\"device_name\":null,\"attention\":\"fake\"}}" ;;
    *'"do":"clock"'*) echo "{\"id\":$id,\"ok\":{\"now_ns\":1}}" ;;
    *'"do":"prefill"'*)
        rows=$line
        count=1
        while case $rows in *']],['*) true ;; *) false ;; esac; do
            rows=${rows#*']],['}
            count=$((count + 1))
        done
        ;;
    *'"do":"decode"'*)
        rows=${line#*'"rows":['}
        count=1
        while case $rows in *,*) true ;; *) false ;; esac; do
            rows=${rows#*,}
            count=$((count + 1))
        done
        ;;
    *) echo "{\"id\":$id,\"ok\":{}}" ;;
    esac
    test $count -gt 0 || continue
    steps=$((steps + 1))
    if [ $steps -eq 40 ]; then
        case $FAKE_WORKER in
        die) echo "Segmentation fault" >&2; kill -9 $$ ;;
        hang) sleep 600 ;;
        garbage) echo "Loading weights: 100%" ;;
        memory) echo "{\"id\":$id,\"error\":{\"kind\":\"out_of_memory\",\"message\":\"tried to allocate\"}}" ;;
        esac
    fi
    tokens=7
    while [ $count -gt 1 ]; do
        tokens=$tokens,7
        count=$((count - 1))
    done
    echo "{\"id\":$id,\"ok\":{\"tokens\":[$tokens],\"start_ns\":1,\"end_ns\":1}}"
done
