"""What every stage uses: records, files, the reading of params.yaml."""
